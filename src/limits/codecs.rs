//! Bounds on compression: how far bytes may expand, and what decoders and encoders may take of the machine.

/// Largest window of a zstd layer that is looked into for a bundle, as a power of two: 32 MiB, as [`MAX_USUAL_WINDOW_LOG`].
/// Looking must not need more memory than the push itself, whoever has built the image.
pub const MAX_LOOK_WINDOW_LOG: u32 = MAX_USUAL_WINDOW_LOG;

/// The smallest share of that memory that a layer takes, as a power of two: 8 MiB, the window of zstd's usual levels. As many
/// layers are looked into at the same time as have room for their windows.
pub const LOOK_SHARE_LOG: u32 = 23;

/// Bytes that one compressed layer may expand to. Layers of zeros legally expand to a thousand (gzip) or thirty
/// thousand (zstd) times their size, so that a ratio would refuse what is sound; the stream is never held in memory.
pub const MAX_EXPANDED_LAYER: u64 = 256 << 30;

/// Largest zstd window, as a power of two: 128 MiB, the default bound of zstd's own tool.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// Largest window that several decoders of a push may have at the same time, as a power of two: 32 MiB, what encoders other
/// than zstd's own choose for their best levels.
pub const MAX_USUAL_WINDOW_LOG: u32 = 25;

/// Memory that the decoders of one push may hold together: one with the largest window, or four with the usual one.
pub const DECODER_MEMORY: u64 = 1 << MAX_ZSTD_WINDOW_LOG;

/// Memory that the encoders of one push may hold together: three blocks by the highest levels of zstd, and by usual ones as many
/// as are ever compressed at the same time.
pub const ENCODER_MEMORY: u64 = 256 << 20;

/// The same for all pushes of the operator's process together: one block by the highest levels of zstd, six by usual ones.
pub const SHARED_ENCODER_MEMORY: u64 = 96 << 20;

/// Memory that an xz decoder may use.
pub const MAX_XZ_MEMORY: u64 = 128 << 20;

/// Size of a block of gzip that is compressed by itself, so that several threads can work on one layer. Part
/// of the output's identity: changing it changes the digests of compressed layers.
pub const GZIP_BLOCK: usize = 1 << 20;

/// The same for zstd, whose blocks share no window: larger ones compress better.
pub const ZSTD_BLOCK: usize = 4 << 20;

/// Threads that compress one layer. More would only fill memory on machines with many processors: each holds a block.
pub const COMPRESSION_THREADS: usize = 4;
