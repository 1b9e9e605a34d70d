//! Custom resources bundled with an image, against those who have to agree with us about them.

mod scalars;
