//! The program is killed again and again, at moments of no choice, while there is always something to push.

use super::*;

/// How often, where `IMAGEPUSH_TEST_KILLS` doesn't say: what takes some seconds. A hundred take a minute and a half.
const KILLS: u32 = 25;

/// What the moments are drawn from, where `IMAGEPUSH_TEST_SEED` doesn't say.
const SEED: u64 = 20_260_101;

/// The most blobs of a push that are under way at the same time, and with it the most sessions that a kill leaves.
const UNDER_WAY: usize = 8;

/// The longest that the program runs before it is killed. What it does first takes about half of this.
const LONGEST: Duration = Duration::from_millis(900);

fn of_environment<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Numbers that only look random: the same for the same seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % u64::try_from(end.as_millis()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_again_and_again_everything_gets_there() {
    let kills = of_environment("IMAGEPUSH_TEST_KILLS", KILLS);
    let seed = of_environment("IMAGEPUSH_TEST_SEED", SEED);
    println!("{kills} kills by IMAGEPUSH_TEST_SEED={seed}");
    let (image, token) = (Image::new(91, 1 << 20), operators_token().await);
    let scene = Scene::new(&image, &token).await;
    let mut draws = Draws(seed);
    for number in 0..kills {
        let to = format!("docker://{}/app-{number}:copy", scene.destination.host);
        let to = json!({"reference": to, "tlsPolicy": "PlainHTTP"});
        let more = json!({"runPolicy": "Once", "destination": to});
        scene.make(&format!("web-{number}"), &more).await;
        let operator = scene.start_alone();
        tokio::time::sleep(draws.below(LONGEST)).await;
        operator.signal(Signal::KILL);
        assert_eq!(operator.code().await, None);
    }
    let left = scene.destination.open_sessions();
    assert!(left <= UNDER_WAY * usize::try_from(kills).unwrap(), "{left} sessions are left");
    let last = scene.start_alone();
    for number in 0..kills {
        let object = scene.until(&format!("web-{number}"), is_ready).await;
        assert_eq!(object["status"]["artifact"]["digest"], image.content.digest(), "{number}");
    }
    let tags = scene.destination.tags();
    assert_eq!(tags.len(), usize::try_from(kills).unwrap(), "{tags:#?}");
    assert!(tags.values().all(|digest| digest == image.content.digest()), "{tags:#?}");
    assert!(scene.destination.open_sessions() <= left, "the last one has left none");
    end(last, &scene, "the last one").await;
}
