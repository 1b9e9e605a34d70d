//! Bounds what a peer may say over HTTP/2 that is no answer: settings, pings, early hints, frames that nobody knows.
//!
//! The HTTP library ends some floods by itself and takes others for as long as they last. Here frames are only told apart and
//! counted, as they come out of TLS; what they mean, and whether they are sound, is for the library.

use rustls::{ContentType, Error};

use crate::limits::{MAX_TALK, WINDOW_PER_BYTE};

/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// Type of a handshake message (RFC 8446, section 4.6.3).
const KEY_UPDATE: u8 = 24;

/// What has come under one key of a connection.
pub(super) struct Talk {
    speaks: Speaks,
    frames: Frames,
    handshakes: Frames,
    /// The newest request that has been answered.
    answered: u32,
    /// Bytes of frames that are no answer, since the last one that is.
    said: usize,
}

/// Which protocol the peer speaks, by its first bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Speaks {
    #[default]
    Nothing,
    Http2,
    /// HTTP/1, whose library looks at one answer after the other, or no HTTP at all.
    Other,
}

/// Cuts a stream into frames.
struct Frames {
    form: Form,
    start: Start,
    /// Bytes of the start that are there.
    have: usize,
    /// Bytes of the frame that are to come after its start.
    left: usize,
}

/// A frame's head, and after that of HTTP/2 the first bytes of its content.
type Start = [u8; 13];

/// What frames look like.
#[derive(Clone, Copy)]
struct Form {
    /// Bytes of a head.
    head: usize,
    /// Where in the head the three bytes of the content's length are.
    length_at: usize,
    /// Most bytes of the content that belong to the start.
    content: usize,
}

const FRAME: Form = Form { head: 9, length_at: 0, content: 4 };
const HANDSHAKE: Form = Form { head: 4, length_at: 1, content: 0 };

// === impl Talk ===

impl Talk {
    /// Looks at decrypted bytes.
    ///
    /// # Errors
    ///
    /// Fails if the peer has said too much, or renews its keys in the middle of frames, which could not be told apart then.
    pub(super) fn hear(&mut self, content: ContentType, bytes: &[u8]) -> Result<(), Error> {
        match content {
            ContentType::ApplicationData => self.hear_frames(bytes),
            ContentType::Handshake => self.hear_handshake(bytes),
            _ => Ok(()),
        }
    }

    fn hear_frames(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while self.speaks != Speaks::Other {
            let Some((start, rest)) = self.frames.next(bytes) else { break };
            bytes = rest;
            self.hear_frame(&start)?;
        }
        Ok(())
    }

    fn hear_frame(&mut self, start: &Start) -> Result<(), Error> {
        let [_, _, _, kind, _, stream_and_more @ ..] = *start;
        let [a, b, c, d, increment @ ..] = stream_and_more;
        let stream = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
        if self.speaks == Speaks::Nothing {
            let is_preface = (kind, stream) == (SETTINGS, 0);
            self.speaks = if is_preface { Speaks::Http2 } else { Speaks::Other };
        }
        match kind {
            HEADERS if stream > self.answered => (self.answered, self.said) = (stream, 0),
            // The library bounds those without content.
            DATA => {}
            WINDOW_UPDATE => {
                let worth = u32::from_be_bytes(increment) / WINDOW_PER_BYTE;
                self.said = (self.said + start.len()).saturating_sub(worth as usize);
            }
            _ => self.said += FRAME.head + FRAME.length(start),
        }
        if self.speaks == Speaks::Http2 && self.said > MAX_TALK {
            return Err(too_much());
        }
        Ok(())
    }

    fn hear_handshake(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(([kind, ..], rest)) = self.handshakes.next(bytes) {
            bytes = rest;
            if kind == KEY_UPDATE && (self.speaks == Speaks::Http2 || self.frames.have > 0) {
                let message = "the peer has renewed its keys in the middle of HTTP/2";
                return Err(Error::General(message.to_owned()));
            }
        }
        Ok(())
    }
}

impl Default for Talk {
    fn default() -> Self {
        let [frames, handshakes] = [FRAME, HANDSHAKE].map(Frames::new);
        Self { speaks: Speaks::default(), frames, handshakes, answered: 0, said: 0 }
    }
}

fn too_much() -> Error {
    Error::General(format!("the peer has sent more than {MAX_TALK} bytes that are no answer"))
}

// === impl Frames ===

impl Frames {
    fn new(form: Form) -> Self {
        Self { form, start: Start::default(), have: 0, left: 0 }
    }

    /// The start of the next frame, once it is whole, and the bytes after it.
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<(Start, &'a [u8])> {
        let (passed, bytes) = bytes.split_at(self.left.min(bytes.len()));
        self.left -= passed.len();
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(place) = self.start.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            if self.have >= self.form.head && self.have >= self.wanted() {
                let start = std::mem::take(&mut self.start);
                let taken = std::mem::take(&mut self.have) - self.form.head;
                self.left = self.form.length(&start) - taken;
                return Some((start, bytes.split_at(at + 1).1));
            }
        }
        None
    }

    /// Bytes of a start whose head is there.
    fn wanted(&self) -> usize {
        self.form.head + self.form.length(&self.start).min(self.form.content)
    }
}

// === impl Form ===

impl Form {
    /// The length of a frame's content.
    fn length(self, start: &Start) -> usize {
        let bytes = start.iter().skip(self.length_at).take(3);
        bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLICATION: ContentType = ContentType::ApplicationData;
    const PING: u8 = 6;

    fn frame(kind: u8, stream: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0], &stream.to_be_bytes(), content].concat()
    }

    /// How many bytes of these frames are heard after a preface, in pieces of this size, before it is too much.
    fn heard(frames: impl IntoIterator<Item = Vec<u8>>, piece: usize) -> Option<usize> {
        let mut talk = Talk::default();
        let all: Vec<u8> = frames.into_iter().flatten().collect();
        let stream = [frame(SETTINGS, 0, &[]), all].concat();
        let mut heard = 0;
        for piece in stream.chunks(piece) {
            if talk.hear(APPLICATION, piece).is_err() {
                return Some(heard);
            }
            heard += piece.len();
        }
        None
    }

    fn times(count: usize, frame: &[u8]) -> Vec<Vec<u8>> {
        vec![frame.to_vec(); count]
    }

    #[test]
    fn what_is_no_answer_has_a_bound() {
        let many = MAX_TALK / 9 + 1;
        for (name, said) in [
            ("settings", frame(SETTINGS, 0, &[])),
            ("pings", frame(PING, 0, &[7; 8])),
            ("windows", frame(WINDOW_UPDATE, 0, &(WINDOW_PER_BYTE - 1).to_be_bytes())),
            ("unknown", frame(0xbe, 0, &[0; 64])),
        ] {
            for piece in [1, 7, 16 << 10] {
                let heard = heard(times(many, &said), piece).unwrap();
                let least = MAX_TALK - piece - said.len();
                assert!((least..=MAX_TALK + said.len()).contains(&heard), "{name} {heard}");
            }
        }
        // Early hints come under a request that has been answered with the first of them.
        let hint = frame(HEADERS, 1, b"\x08\x03103");
        assert!(heard(times(many, &hint), 1000).is_some());
    }

    #[test]
    fn what_belongs_to_answers_has_none() {
        let many = MAX_TALK / 9 + 1;
        // Some servers let as much be sent as they have just taken, often in a large and a small part.
        let [small, large] = [9_u32, 16_375].map(|it| frame(WINDOW_UPDATE, 1, &it.to_be_bytes()));
        assert_eq!(heard(times(many, &[small, large].concat()), 100), None);
        assert_eq!(heard(times(9, &frame(DATA, 1, &vec![0; MAX_TALK])), 1 << 14), None);
        // Each answer begins the count anew.
        let ping = frame(PING, 0, &vec![0; MAX_TALK - 100]);
        let answers = (0..9).flat_map(|n| [frame(HEADERS, 2 * n + 1, b"\x88"), ping.clone()]);
        assert_eq!(heard(answers, 1 << 14), None);
        // What isn't HTTP/2 is not for us.
        let mut talk = Talk::default();
        for _ in 0..many {
            assert!(talk.hear(APPLICATION, b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok());
        }
    }

    #[test]
    fn keys_are_not_renewed_to_begin_the_count_anew() {
        let update = [&[4, 0, 0, 2, 0, 0][..], &[KEY_UPDATE, 0, 0, 1, 0]].concat();
        let settings = frame(SETTINGS, 0, &[]);
        for (before, piece, fine) in [
            (&b""[..], 100, true),
            (b"HTTP/1.1 200 OK", 100, true),
            (&settings, 100, false),
            (&settings[..5], 100, false),
            (&settings, 1, false),
        ] {
            let mut talk = Talk::default();
            talk.hear(APPLICATION, before).unwrap();
            let mut heard = update.chunks(piece).map(|it| talk.hear(ContentType::Handshake, it));
            assert_eq!(heard.all(|it| it.is_ok()), fine, "{before:?} {piece}");
        }
    }
}
