//! Every bound on what comes from outside, each with its reason. Those of compression, of Jobs, of the probes' port, of traces,
//! and of files and programs that say how registries are reached, have files of their own.

mod cluster;
mod codecs;
mod configuration;
mod jobs;
mod looks;
mod probes;
mod telemetry;

use std::time::Duration;

pub use self::cluster::*;
pub use self::codecs::*;
pub use self::configuration::*;
pub use self::looks::*;
pub use crate::image::{
    MAX_BLOB_SIZE, MAX_CONFIG_SIZE, MAX_INDEX_ENTRIES, MAX_LAYERS, MAX_MANIFEST_SIZE,
};
pub use jobs::{
    JOB_DENIED_PATIENCE, JOB_GONE_TIMEOUT, JOB_GRACE_PERIOD, JOB_LOST_AFTER, JOB_PAGE,
    JOB_POD_WAIT, JOB_POLL, JOB_START_ALLOWANCE, JOB_TTL, MAX_SECRET, MAX_TASK,
    MAX_TERMINATION_MESSAGE,
};
pub use probes::{
    MAX_PROBE_HEAD, MAX_PROBES, PROBE_ACCEPT_WAIT, PROBE_HEAD_TIMEOUT, PROBE_TIMEOUT,
    PROBES_END_TIMEOUT,
};
pub use telemetry::{MAX_SPANS, SPANS_FLUSH_TIMEOUT, SPANS_PERIOD, SPANS_TIMEOUT};

/// Deepest nesting of indexes. One index in another is already rare; a cycle can't be had by digest.
pub const MAX_INDEX_DEPTH: usize = 4;

/// Most manifests that are read for one push, each counted as often as it is named.
pub const MAX_MANIFESTS: usize = 4096;

/// Most bytes of them together: they are held in memory until the push ends, in the operator beside those of other pushes.
pub const MAX_MANIFESTS_SIZE: u64 = 32 << 20;

/// Most attachments of one manifest, the bound that signing tools have settled on.
pub const MAX_ATTACHMENTS: usize = 1000;

/// Most attachments whose manifests are read because the list doesn't say of what kind they are.
pub const MAX_UNTYPED_ATTACHMENTS: usize = 100;

/// Most pages of a list that a registry may send us through.
pub const MAX_PAGES: usize = 100;

/// Reading or changing a list of attachments, all its pages together.
pub const LISTING_TIMEOUT: Duration = Duration::from_mins(2);

/// How often a list of attachments is changed again because somebody else has overwritten it.
pub const MAX_LIST_CHANGES: usize = 8;

/// Shortest and longest wait before a changed list is read back: others may have read it before we wrote it, and a
/// registry next door takes milliseconds, a busy one far away a second.
pub const OTHER_WRITERS: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(2));

/// Largest body of a registry's error answer that is read; longer ones are not the registry's schema.
pub const MAX_ERROR_BODY: usize = 64 << 10;

/// Most characters of a registry's own message that are shown.
pub const MAX_ERROR_SHOWN: usize = 512;

/// Largest answer of a token server; tokens with long lists of scopes have some 10 KiB.
pub const MAX_TOKEN_BODY: usize = 64 << 10;

/// Deepest nesting in the answer of a token server; what we read of it stands at the top.
pub const MAX_TOKEN_DEPTH: usize = 16;

/// Largest token: longer ones fit into no server's limit for headers.
pub const MAX_TOKEN: usize = 16 << 10;

/// Longest address of a token server, and longest name that it knows a registry by; real ones have some hundred bytes.
pub const MAX_CHALLENGE_PARAMETER: usize = 2 << 10;

/// Most `WWW-Authenticate` headers of one answer that are looked at; registries send one or two.
pub const MAX_CHALLENGES: usize = 16;

/// Most tokens, and as many registries' ways of asking for them, that a program keeps in mind: an operator with a thousand
/// ImagePush objects has some two thousand, of about 3 KiB each.
pub const MAX_STANDINGS: usize = 4096;

/// Most bytes of a blob that are kept while it is being sent, in case the registry refuses the token at once: no answer
/// takes longer than the first chunk and what a socket holds.
pub const MAX_REPLAY: usize = 256 << 10;

/// Shortest and longest life of a token that is believed, whatever the token server says.
pub const TOKEN_LIFE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24));

/// Largest `index.json` of a layout: an index with descriptors for the most tags we expect in one folder.
pub const MAX_LAYOUT_INDEX: u64 = 16 << 20;

/// Largest `manifest.json` of a Docker archive; the bound that containers/image has.
pub const MAX_ARCHIVE_MANIFEST: u64 = 1 << 20;

/// Most members of an image archive: each blob is one, and images have at most a thousand layers.
pub const MAX_ARCHIVE_MEMBERS: usize = 1 << 20;

/// Wait for file operations that are still under way when the program ends; they stop at their next chunk.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes that the names of an archive's members have together: the list of them is held in memory.
pub const MAX_ARCHIVE_NAMES: usize = 64 << 20;

/// Most bytes an archive may have once it is decompressed; no image comes near it.
pub const MAX_ARCHIVE_EXPANDED: u64 = 1 << 40;

/// Most bytes of extended headers for one member of an image archive, whose members are blobs with short names.
pub const MAX_TAR_METADATA: u32 = 64 << 10;

/// Longest name of a member in bytes; what Linux has for paths.
pub const MAX_TAR_NAME: u32 = 4096;

/// Most parts that a member's name may have between its slashes.
pub const MAX_TAR_DEPTH: usize = 256;

/// Longest name of a file of a bundle in bytes; what Linux has for one part of a path.
pub const MAX_FILE_NAME: usize = 255;

/// Largest YAML file that `apply` reads.
pub const MAX_APPLY_FILE: u64 = 1 << 20;

/// Most bytes of extended headers for one member of a layer; extended attributes take some of them.
pub const MAX_LAYER_METADATA: u32 = 1 << 20;

/// Most objects of a bundle; status lists what was made of each.
pub const MAX_BUNDLE_OBJECTS: usize = 512;

/// Most files of a bundle, and most names that layers say anything of: no file needs to hold less than an object.
pub const MAX_BUNDLE_FILES: usize = MAX_BUNDLE_OBJECTS;

/// Most bytes of one object of a bundle in its canonical form; etcd takes no larger one.
pub const MAX_BUNDLE_OBJECT: usize = 1 << 20;

/// Most bytes of a bundle, as it is written and in its canonical form. It is held in memory.
pub const MAX_BUNDLE: usize = 4 << 20;

/// Most bytes of files that are held of all layers of a push, whose images may differ; they have one bundle among them.
pub const MAX_BUNDLE_VIEWS: usize = 8 * MAX_BUNDLE;

/// Deepest nesting of an object of a bundle; real ones have some 20 levels.
pub const MAX_BUNDLE_DEPTH: usize = 64;

/// Most values, keys counted, of one file of a bundle: what fits into its bytes, but for absurd ones.
pub const MAX_BUNDLE_NODES: usize = 1 << 19;

/// Most values of one file of a bundle that aliases stand for; hand-written files have dozens.
pub const MAX_BUNDLE_ALIASED: usize = 10_000;

/// Longest key of an object of a bundle; YAML has no longer ones without a form of its own for them.
pub const MAX_BUNDLE_KEY: usize = 1000;

/// Longest name of an object, its kind or its version, the bound that Kubernetes has.
pub const MAX_OBJECT_NAME: usize = 253;

/// Size of a chunk read from a file or a socket and handed from stage to stage. Large enough that a hand-over costs
/// nothing beside hashing the chunk, small enough that a few dozen in flight stay within the memory goal.
pub const CHUNK: usize = 256 << 10;

/// The same for small blobs, of which many are in flight.
pub const SMALL_CHUNK: usize = 64 << 10;

/// Most threads that run asynchronous work. It waits for the most part: hashing and codecs have threads of their own.
pub const ASYNC_THREADS: usize = 4;

/// Threads that read, write, hash and compress, where there aren't more processors than this. None of these waits for
/// another.
pub const BLOCKING_THREADS: usize = 8;

/// Names that are looked up at the same time, each on a thread of its own: name servers that don't answer hold up nothing
/// else. Connections are kept, so that few of a push need an address.
pub const PARALLEL_LOOKUPS: usize = 32;

/// Looking up a name, with the wait for others to be looked up. The system tries several name servers in this time.
pub const LOOKUP_TIMEOUT: Duration = CONNECT_TIMEOUT;

/// Large blobs of one push that move at the same time. A few fill a link; more only take memory and the registry's processors.
pub const PARALLEL_BLOBS: usize = 4;

/// Small blobs are bound by round trips, so more of them move at the same time, each with a connection where the registry
/// speaks HTTP/1.1.
pub const PARALLEL_SMALL_BLOBS: usize = 64;

/// Fewest that move at the same time in a push whose registry asks again and again to slow down.
pub const FEWEST_PARALLEL_BLOBS: usize = 4;

/// What may pass a bound on bytes in a second ahead of its time: one large chunk or some small ones of a stream wouldn't
/// get through evenly otherwise, since sleeping is precise to a few milliseconds only.
pub const PACE_BURST: Duration = Duration::from_millis(100);

/// Least bytes in a second that a bound may be set to, all streams together: registries and proxies in front of them give
/// up on connections on which next to nothing moves for a minute.
pub const SLOWEST_PACE: u64 = 64 << 10;

/// Blobs up to this size count as small.
pub const SMALL_BLOB: u64 = 1 << 20;

/// Instances of an index that are copied at the same time, and manifests of nested indexes that are read or written at the
/// same time, all together; their blobs share the bounds above.
pub const PARALLEL_INSTANCES: usize = 16;

/// First delay before an operation is tried again, where the user gave none.
pub const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Longest delay before an operation is tried again.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Longest `Retry-After` that is waited for inside a push; beyond it the push fails as worth trying later.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Pause of a host that asks to slow down and doesn't say for how long.
pub const DEFAULT_PAUSE: Duration = RETRY_DELAY;

/// Longest part of a pause that holds for everybody. A host that is busy asks for no more; an account that has used up its
/// share has to wait longer, which is nothing to the others.
pub const MAX_SHARED_PAUSE: Duration = Duration::from_secs(10);

/// Most blobs of which it is remembered where they were written to: some 300 bytes each, and the layers of thousands of images.
pub const MAX_KNOWN_BLOBS: usize = 16 << 10;

/// Most hosts whose pauses are remembered; more than that are not pushed to at the same time.
pub const MAX_PAUSED_HOSTS: usize = 1024;

/// Most warnings of one host that are told; nobody reads more.
pub const MAX_WARNINGS: usize = 10;

/// Longest warning that is told, the bound of the distribution specification.
pub const MAX_WARNING: usize = 4096;

/// Most hosts whose warnings are remembered as told; at most 40 KiB for each.
pub const MAX_WARNED_HOSTS: usize = 256;

/// Most retries a user may ask for.
pub const MAX_RETRIES: u32 = 50;

/// Establishing a TCP connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// From the end of a request to the head of its answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);

/// Bytes of a body for which its answer may take another second: proxies take a blob whole before they pass it on, registries
/// hash it and move it to where they keep it, and neither says anything meanwhile.
pub const SETTLING_RATE: u64 = 16 << 20;

/// Most time that an answer is given for the size of what it answers.
pub const MAX_SETTLING: Duration = Duration::from_mins(30);

/// Most bytes that an HTTP/2 peer may send without beginning an answer: settings, pings, early hints. Without a bound, 11 MB
/// of the shortest early hints take 110 MB of memory, and all of them processor time.
pub const MAX_TALK: usize = 256 << 10;

/// For so many bytes that an HTTP/2 peer lets us send, a byte of its talk is no talk: servers let some KiB be sent at a time, in
/// frames of 13 bytes. Windows end at 2^31 bytes.
pub const WINDOW_PER_BYTE: u32 = 64;

/// Between two chunks of a body, either way.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Fewest bytes of a body in a second that a peer may send or take, over [`IDLE_TIMEOUT`] or more of waiting for it, so that
/// one byte now and then doesn't keep a push alive.
pub const MIN_RATE: u64 = 1 << 10;

/// Most bytes that are handed to a connection at a time. A peer has [`IDLE_TIMEOUT`] for each, however many they are.
pub const SENT_PIECE: usize = 64 << 10;

/// Between two looks at how a body gets on; deadlines are kept with this precision.
pub const WATCH_PERIOD: Duration = Duration::from_secs(10);

/// How long a request's body may wait for the other end of the push, which has deadlines of its own and may be paused.
pub const SOURCE_TIMEOUT: Duration = Duration::from_mins(15);

/// Breaks after which one download goes on, and the bytes that have to arrive between two of them.
pub const MAX_RESUMES: u32 = 100;
/// See [`MAX_RESUMES`].
pub const MIN_RESUME_PROGRESS: u64 = 1 << 20;

/// HTTP clients that are kept with their connections: one for each set of certificates, and one for each host that needs
/// no valid one. The operator's objects may name any number of them.
pub const MAX_HTTP_CLIENTS: usize = 64;

/// Looks at one registry that are under way at the same time, each with a connection of its own: the operator looks at
/// thousands of names there, and one connection answers a hundred a second from 10 ms away.
pub const PARALLEL_CHECKS: usize = 4;

/// Connections to one host that are kept open unused; as many as one push moves small blobs at a time.
pub const IDLE_CONNECTIONS: usize = PARALLEL_SMALL_BLOBS;

/// How long an unused connection is kept; load balancers close theirs after a minute or more.
pub const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(50);

/// Addresses that are tried for one foreign layer: they are the choice of the image's author, and each may take minutes.
pub const MAX_LAYER_ADDRESSES: usize = 4;

/// Redirects followed for one request.
pub const MAX_REDIRECTS: usize = 5;

/// Finding out whether a push is still wanted, right before it changes a name: a lease's holder knows that by itself.
pub const STILL_WANTED_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait for another process that writes the same layout, or that gets nowhere with the same archive.
pub const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

/// Cancelling an upload session after a failure; best effort.
pub const UPLOAD_CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Shortest blob whose upload goes on after a break: asking where the registry stands costs as much as starting again.
pub const MIN_RESUMED: u64 = 1 << 20;

/// Most bytes of a request where a registry refuses larger ones. It is held in memory, and is what GHCR takes.
pub const PIECE: u64 = 4 << 20;

/// The same where that is refused, too: what nginx takes if it isn't told otherwise.
pub const SMALL_PIECE: u64 = 1 << 20;

/// The longest minimum for such a request that a registry may ask for; S3, which is behind most that do, has 5 MiB.
pub const LARGEST_PIECE: u64 = 16 << 20;

/// Blobs that a registry has opened an upload for instead of mounting them, after which it is no longer asked to mount.
pub const FRUITLESS_MOUNTS: u32 = 3;

/// How often one blob or manifest is sent again at once, because a refusal told how: in one PATCH, in pieces, in smaller
/// pieces, from the start, with a new token. None of them comes twice.
pub const MAX_ADAPTATIONS: u32 = 5;

/// How often what a destination has lost is sent again before its manifest is written once more.
pub const MAX_HEALS: u32 = 2;

/// Longest message of a condition; etcd and every list of objects carry it.
pub const MAX_CONDITION_MESSAGE: usize = 1024;

/// Most characters of a media type or a platform in status, the bound of the schema: images say anything, and a status that
/// does not fit is not taken at all.
pub const MAX_STATUS_TEXT: usize = 256;

/// Most manifests of an index that status lists.
pub const MAX_STATUS_MANIFESTS: usize = 64;

/// How long running attempts may take to stop when the operator does; less than a pod's usual grace period.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Memory that a push in the operator is taken to need: its blobs in flight, and manifests.
pub const MEMORY_OF_PUSH: u64 = 32 << 20;

/// Memory that it takes beside that where layers are looked into as they pass.
pub const MEMORY_OF_LOOKS: u64 = 1 << MAX_LOOK_WINDOW_LOG;

/// Most that metrics count of one push, in bytes or blobs: a pebibyte, which nobody moves in a day.
pub const MAX_COUNTED: u64 = 1 << 50;

/// ImagePush objects that may wait to be looked at again because their attempt told something.
pub const WAKE_QUEUE: usize = 256;

/// Attempts of an ImagePush that runs once before it is given up: between one and three hours with [`ATTEMPT_DELAY`].
pub const MAX_ATTEMPTS: i32 = 20;

/// Refusals of the same credentials in a row before an ImagePush waits for others: a registry may be wrong for a moment,
/// and an account may be locked after a few more.
pub const MAX_REFUSALS: i32 = 3;

/// Characters of an annotation's value that status echoes; Flux and people write a time.
pub const MAX_REQUEST: usize = 128;

/// How long a lease is good without being renewed: what a new leader waits for after the old one is gone without a word.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// Between two renewals of a lease.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(5);

/// From the last renewal to the moment at which its holder counts it as lost. The rest of [`LEASE_DURATION`] is for
/// clocks that don't go at the same speed, and for requests that arrive late.
pub const LEASE_GIVE_UP: Duration = Duration::from_secs(10);

/// Between two looks at a lease that somebody else has, and between two tries after a failure.
pub const LEASE_POLL: Duration = Duration::from_secs(2);

/// Longest lease of somebody else that is believed to be meant.
pub const MAX_FOREIGN_LEASE: Duration = Duration::from_mins(1);

/// Giving a lease back at the end; it runs out anyhow.
pub const LEASE_RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Entries of the history in status: what an administrator looks at first, and no log.
pub const MAX_HISTORY: usize = 5;

/// How long the first list of a watch may take before it no longer holds up objects of other watches.
pub const CLAIMS_WAIT: Duration = Duration::from_secs(30);

/// How often an object's metadata is read anew because somebody else has changed it meanwhile.
pub const MAX_CONFLICTS: u32 = 5;

/// Intervals without a success after which an object counts as overdue: one may be missed by a registry's short outage, and
/// attempts that fail are repeated within the second.
pub const OVERDUE_AFTER: u32 = 3;

/// Until an object is looked at again that somebody else has changed while it was to be deleted: the watch shows it by then.
pub const CONFLICT_WAIT: Duration = Duration::from_secs(1);

/// One try to take away what a deleted object has left, its image or what was applied, and the wait before the next one.
pub const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
/// See [`CLEANUP_TIMEOUT`].
pub const CLEANUP_RETRY: Duration = Duration::from_secs(30);

/// Images of deleted objects that are taken away from one registry at the same time, and objects of one namespace whose
/// bundles are: each is two small requests, or two for each object of a bundle.
pub const PARALLEL_REMOVALS: usize = 4;

/// How long, from the first try, a deleted object waits for its image to be taken away, and as long for what was applied: a
/// namespace must not wait for ever for a registry, or for rights.
pub const CLEANUP_PATIENCE: Duration = Duration::from_mins(10);

/// The same where the account is gone as which it would be done: its namespace may be on its way, too.
pub const CLEANUP_HOPE: Duration = Duration::from_mins(1);

/// Pull secrets of a ServiceAccount that are read: each is a request for each attempt.
pub const MAX_PULL_SECRETS: usize = 16;

/// One request to the Kubernetes API, from its first byte to its answer's last; for a watch, to the answer's head. It allows
/// for a server that is busy, and for its own deadline of admission webhooks.
pub const API_DEADLINE: Duration = Duration::from_secs(30);

/// Largest answer of the Kubernetes API: a page of 500 objects, each as large as etcd takes, would be more, but has to be
/// held in memory.
pub const MAX_API_ANSWER: usize = 256 << 20;

/// Longest `Retry-After` of the API server that is honoured; it asks for a second where it is busy.
pub const MAX_API_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Before a look is repeated that failed, half of it more or less.
pub const API_ERROR_WAIT: Duration = Duration::from_secs(30);

/// The same where the API server refuses what we ask: somebody has to change permissions or policies first.
pub const API_DENIED_WAIT: Duration = Duration::from_mins(10);

/// Between the starts of two watches of the same objects.
pub const WATCH_DISTANCE: Duration = Duration::from_secs(1);

/// First and longest wait before a watch that failed begins anew; a longer one would only be noticed by users.
pub const WATCH_DELAY: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(10));

/// After this time without a fault, a watch counts as one that works.
pub const WATCH_CALM: Duration = Duration::from_mins(1);

/// First and longest wait after a look that panicked: the same is likely to happen again.
pub const PANIC_DELAY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_hours(1));

/// Objects that can't be read and wait to be told so.
pub const UNREADABLE_QUEUE: usize = 256;

/// Objects that can't be read of which it is remembered that they were told so, or that they are to be told again.
pub const MAX_UNREADABLE: usize = 4096;

/// Writing the status of the attempts that were called off when the operator stops.
pub const LAST_STATUS_TIMEOUT: Duration = Duration::from_secs(4);

/// What the end of the operator is made of fits into a pod's usual grace period of 30 seconds. Only threads that a file system
/// holds up may be waited for after that ([`SHUTDOWN_TIMEOUT`]), and nothing depends on them.
const _: () = assert!(
    STOP_TIMEOUT.as_millis()
        + LAST_STATUS_TIMEOUT.as_millis()
        + LEASE_RELEASE_TIMEOUT.as_millis()
        + EVENT_DRAIN_TIMEOUT.as_millis()
        + PROBES_END_TIMEOUT.as_millis()
        + SPANS_FLUSH_TIMEOUT.as_millis()
        < 30_000
);

/// Events of the cluster that wait to be written.
pub const EVENT_QUEUE: usize = 256;

/// Writing what waits there when the operator stops.
pub const EVENT_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest note of an event in bytes; Kubernetes takes 1024.
pub const MAX_EVENT_NOTE: usize = 1000;

/// Events about one object that may come at once, as from Kubernetes' own controllers.
pub const EVENT_BURST: u32 = 25;

/// Between two events about the same object that say the same, or warn for the same reason, and until one more may come after a burst.
pub const EVENT_PERIOD: Duration = Duration::from_mins(5);

/// Objects whose events are counted; an account has some hundred bytes.
pub const MAX_EVENT_OBJECTS: usize = 16 << 10;

/// Age of the event loop's last beat from which on the operator counts as dead.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(1);

/// Between two beats.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);

/// Registries whose answers are counted by name; the names come from objects, and each is a dozen series.
pub const MAX_COUNTED_REGISTRIES: usize = 64;
