//! The jobs, what is wanted of each, and the images they are done with.

use std::path::PathBuf;

use tempfile::TempDir;

use super::places::{Kind, Place, Sample, measured};
use super::tools::{ALL, Image, Tool};
use crate::support::layout::{write_image, write_index, write_layout};

/// Rounds of a job; odd, so that the median is one of them.
const ROUNDS: usize = 5;

/// Rounds of a job that takes milliseconds.
const MANY_ROUNDS: usize = 7;

/// Repetitions in one round of a job that takes milliseconds, which is what processor time is counted in.
const REPETITIONS: u32 = 10;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A job that several tools do.
pub(super) struct Job {
    pub(super) name: String,
    /// What is wanted at most of the best other tool's figure, by quantity.
    pub(super) wanted: &'static [(&'static str, f64)],
    pub(super) tools: &'static [Tool],
    /// Those that take so long that one round has to do.
    pub(super) once: &'static [Tool],
    pub(super) rounds: usize,
    pub(super) run: Run,
}

/// Does the job once with a tool, in a place of its own.
type Run = Box<dyn Fn(&Fixtures, Tool) -> Sample>;

/// Images in layouts, the same in each run.
pub(super) struct Fixtures {
    folder: TempDir,
}

/// Layers of an image as people have them: a large one below, smaller ones above. MiB.
const TYPICAL: [u64; 10] = [64, 32, 16, 16, 8, 8, 8, 4, 2, 2];

const ARCHITECTURES: [&str; 6] = ["amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64"];

// === impl Fixtures ===

impl Fixtures {
    pub(super) fn write() -> Self {
        let fixtures = Self { folder: tempfile::tempdir().unwrap() };
        let typical: Vec<(u64, u64)> =
            (1..).zip(TYPICAL).map(|(seed, size)| (seed, size * MIB)).collect();
        write_image(&fixtures.path("typical"), "1", &typical);
        write_layout(&fixtures.path("many"), "1", 120, 100 * KIB);
        write_layout(&fixtures.path("small"), "1", 10, MIB);
        let sizes = [8, 8, 4, 2, 1].map(|size| size * MIB);
        write_index(&fixtures.path("platforms"), "1", &ARCHITECTURES, &sizes);
        fixtures
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn layout(&self, name: &str) -> Image {
        Image::Layout(self.path(name))
    }
}

/// What is wanted at most of skopeo's figure, by the beginning of a job's name; the first that fits counts. Skopeo is
/// Debian's, which is older than the one that these were set for.
const OF_SKOPEO: [(&str, &[(&str, f64)]); 9] = [
    ("G1: the same with `--verify-source`", &[("wall", 0.80), ("CPU", 0.75)]),
    ("G1", &[("wall", 0.60), ("CPU", 0.10)]),
    ("G2: ", &[("wall", 0.025)]),
    ("G2b", &[("wall", 0.35)]),
    ("G3", &[("wall", 0.15)]),
    ("G9", &[("CPU", 0.70)]),
    ("G10: other repository, 10 layers (20 ms away)", &[("wall", 0.12)]),
    ("G10", &[("wall", 0.03)]),
    ("G11: 6 platforms, 31 blobs, 98 MiB (20 ms away)", &[("wall", 0.15)]),
];

// === impl Job ===

impl Job {
    /// What is wanted at most of skopeo's figure of a quantity.
    pub(super) fn wanted_of_skopeo(&self, quantity: &str) -> Option<f64> {
        let (_, wanted) = OF_SKOPEO.iter().find(|(begin, _)| self.name.starts_with(begin))?;
        Some(wanted.iter().find(|(name, _)| *name == quantity)?.1)
    }
}

/// All jobs, in the order of the report.
pub(super) fn all() -> Vec<Job> {
    use Kind::{Debian, Far, Version3};
    const LARGE: &[(&str, f64)] = &[("wall", 1.05), ("CPU", 0.70)];
    const NOTHING: &[(&str, f64)] = &[("wall", 0.60), ("CPU", 0.30)];
    const BETWEEN: &[(&str, f64)] = &[("wall", 1.00)];
    let skopeo = &[Tool::Skopeo];
    vec![
        fresh("G1: 160 MiB in 10 layers", "typical", Debian, LARGE),
        fresh("G1: 160 MiB in 10 layers", "typical", Version3, LARGE),
        told("G1: the same with `--cr-option no`", "--cr-option no", Version3, LARGE),
        told("G1: the same with `--verify-source`", "--verify-source", Version3, &[]),
        Job { once: skopeo, ..fresh("G2: 120 layers of 100 KiB", "many", Far, &[("wall", 0.12)]) },
        fresh("G2b: 120 layers of 100 KiB", "many", Debian, &[("wall", 0.85)]),
        fresh("G2b: 120 layers of 100 KiB", "many", Version3, &[("wall", 0.85)]),
        again("G3: nothing to do, 120 layers", "many", Debian, NOTHING),
        again("G3: nothing to do, 120 layers", "many", Version3, NOTHING),
        again("G3: nothing to do, 6 platforms", "platforms", Debian, NOTHING),
        again("G3: nothing to do, 6 platforms", "platforms", Version3, NOTHING),
        again("G3: nothing to do, 10 layers", "small", Far, NOTHING),
        again("G3: nothing to do, 6 platforms", "platforms", Far, NOTHING),
        between("G9: registry to registry, 160 MiB", Debian, BETWEEN),
        between("G9: registry to registry, 160 MiB", Version3, BETWEEN),
        other_repository("G10: other repository, 10 layers", "typical", Debian, &[]),
        other_repository("G10: other repository, 10 layers", "typical", Version3, &[]),
        other_repository("G10: other repository, 10 layers", "small", Far, &[("wall", 0.70)]),
        fresh("G11: 6 platforms, 31 blobs, 98 MiB", "platforms", Debian, &[]),
        fresh("G11: 6 platforms, 31 blobs, 98 MiB", "platforms", Version3, &[]),
        Job {
            once: skopeo,
            ..fresh("G11: 6 platforms, 31 blobs, 98 MiB", "platforms", Far, &[("wall", 0.80)])
        },
        into_archive("`oci` to `oci-archive`, 160 MiB"),
    ]
}

fn job(
    name: String,
    wanted: &'static [(&'static str, f64)],
    run: impl Fn(&Fixtures, Tool) -> Sample + 'static,
) -> Job {
    Job { name, wanted, tools: ALL, once: &[], rounds: ROUNDS, run: Box::new(run) }
}

fn named(name: &str, kind: Kind) -> String {
    format!("{name} ({})", kind.name())
}

fn fresh(
    name: &str,
    layout: &'static str,
    kind: Kind,
    wanted: &'static [(&'static str, f64)],
) -> Job {
    from(name, move |fixtures| fixtures.layout(layout), kind, wanted)
}

/// A fresh push for which we get options; the others do as ever.
fn told(
    name: &str,
    options: &'static str,
    kind: Kind,
    wanted: &'static [(&'static str, f64)],
) -> Job {
    let source = move |fixtures: &Fixtures| Image::LayoutWith(fixtures.path("typical"), options);
    from(name, source, kind, wanted)
}

/// A push of an image into a registry that is empty.
fn from(
    name: &str,
    source: impl Fn(&Fixtures) -> Image + 'static,
    kind: Kind,
    wanted: &'static [(&'static str, f64)],
) -> Job {
    job(named(name, kind), wanted, move |fixtures, tool| {
        let place = Place::start(kind);
        measured(tool, 1, [&source(fixtures), &place.image("team/app:1")], &[&place])
    })
}

fn again(
    name: &str,
    layout: &'static str,
    kind: Kind,
    wanted: &'static [(&'static str, f64)],
) -> Job {
    let run = move |fixtures: &Fixtures, tool: Tool| {
        let place = Place::start(kind);
        let (source, destination) = (fixtures.layout(layout), place.image("team/app:1"));
        Tool::Imagepush.copy(1, &source, &destination);
        // It takes so long that once is enough.
        let times = if tool == Tool::Skopeo { 1 } else { REPETITIONS };
        measured(tool, times, [&source, &destination], &[&place])
    };
    Job { rounds: MANY_ROUNDS, ..job(named(name, kind), wanted, run) }
}

fn between(name: &str, kind: Kind, wanted: &'static [(&'static str, f64)]) -> Job {
    job(named(name, kind), wanted, move |fixtures, tool| {
        let (near, far) = (Place::start(kind), Place::start(kind));
        let (source, destination) = (near.image("team/app:1"), far.image("team/app:1"));
        Tool::Imagepush.copy(1, &fixtures.layout("typical"), &source);
        measured(tool, 1, [&source, &destination], &[&near, &far])
    })
}

fn other_repository(
    name: &str,
    layout: &'static str,
    kind: Kind,
    wanted: &'static [(&'static str, f64)],
) -> Job {
    job(named(name, kind), wanted, move |fixtures, tool| {
        let place = Place::start(kind);
        let (source, destination) = (place.image("team/app:1"), place.image("other/app:1"));
        Tool::Imagepush.copy(1, &fixtures.layout(layout), &source);
        measured(tool, 1, [&source, &destination], &[&place])
    })
}

fn into_archive(name: &str) -> Job {
    let run = |fixtures: &Fixtures, tool: Tool| {
        let folder = tempfile::tempdir_in(fixtures.folder.path()).unwrap();
        let archive = Image::Archive(folder.path().join("image.tar"));
        measured(tool, 1, [&fixtures.layout("typical"), &archive], &[])
    };
    Job { tools: &[Tool::Imagepush, Tool::Skopeo], ..job(name.to_owned(), &[], run) }
}
