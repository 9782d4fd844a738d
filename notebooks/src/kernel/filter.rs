//! `igpt filter`: stands between what a cell prints and evcxr, which reads it by lines of UTF-8.
//!
//! Text leaves it as marked lines that hold any text, so that a line that is not ended is seen at once, bytes that are no
//! UTF-8 harm nothing, many lines travel as one message, and a flood is cut. What evcxr and the kernel must read
//! themselves passes as it is, at the place where it can be genuine: between a cell's start mark and its end mark, which
//! bear the cell's nonce, a line like one of evcxr's notices is the cell's own text; a notice behind the end mark is
//! evcxr's, and the kernel is told of it.
//!
//! It is a process of its own: it has the last word of a process that dies.

use std::{
    io::{Read as _, Write},
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::cell::MARK_TEXT;

/// How long text waits for more when nothing comes, and at most.
const GATHER: Duration = Duration::from_millis(10);
const AT_MOST: Duration = Duration::from_millis(50);
/// Text that is passed on at a time.
const CHUNK: usize = 32 * 1024;
/// A cell's text is shown up to here; of the rest, the last part is.
const LIMIT: usize = 1 << 20;
const TAIL: usize = 16 * 1024;

/// Passes stdin on to stdout until it ends.
pub fn filter() -> Result<ExitCode> {
    let (sender, chunks) = sync_channel::<Vec<u8>>(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut filter = Filter::new(std::io::stdout().lock());
    loop {
        match chunks.recv_timeout(GATHER) {
            Ok(bytes) => {
                filter.take(&bytes)?;
                if filter.since.is_some_and(|since| since.elapsed() > AT_MOST) {
                    filter.pause()?;
                }
            }
            Err(RecvTimeoutError::Timeout) if filter.is_idle() => match chunks.recv() {
                Ok(bytes) => filter.take(&bytes)?,
                Err(_) => break,
            },
            Err(RecvTimeoutError::Timeout) => filter.pause()?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    filter.end()?;
    Ok(ExitCode::SUCCESS)
}

struct Filter<W> {
    to: W,
    /// A line that is not ended yet.
    line: Vec<u8>,
    /// Text that waits for more.
    text: Vec<u8>,
    /// Since when something waits.
    since: Option<Instant>,
    /// Inside a value, whose lines are evcxr's.
    in_value: bool,
    position: Position,
    /// Nothing came since the last pause.
    paused: bool,
    /// Bytes that may still be shown.
    left: usize,
    /// The last part of what is not shown, and how much that is.
    tail: Vec<u8>,
    hidden: u64,
}

/// Where in the life of the cells' process a line stands.
#[derive(Debug, PartialEq, Eq)]
enum Position {
    /// Before the first cell, where only the kernel's own code runs.
    Before,
    /// In the cell that ends with this line, or begins with it.
    In(Vec<u8>),
    /// Behind a cell, where evcxr says that it was run, and before the next one.
    Behind {
        /// evcxr's word is still to come.
        due: bool,
    },
}

/// What cells send besides text, by the library.
const SENT: [&[u8]; 5] = [b"show ", b"clear", b"stopping", b"panic ", b"session "];
const START: &[u8] = b"\x01igpt:start ";
const END: &[u8] = b"\x01igpt:end ";
const END_OF_VALUE: &[u8] = b"EVCXR_END_CONTENT\n";
/// evcxr's notices of a cell that failed.
const NOTICES: [&[u8]; 2] = [b"EVCXR_PANIC_NOTIFICATION\n", b"EVCXR_ERROR_OCCURRED\n"];

impl<W: Write> Filter<W> {
    fn new(to: W) -> Self {
        let (line, text, tail) = (Vec::new(), Vec::new(), Vec::new());
        let position = Position::Before;
        Self {
            to,
            line,
            text,
            since: None,
            in_value: false,
            position,
            paused: true,
            left: LIMIT,
            tail,
            hidden: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.paused = false;
        self.since.get_or_insert_with(Instant::now);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)?;
            } else if self.line.len() > CHUNK {
                self.take_part()?;
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> std::io::Result<()> {
        if let Position::In(end) = &self.position
            && let Some(at) = find(line, end)
            // Behind the nonce there is a blank and the verdict, or nothing.
            && matches!(line.get(at + end.len()), Some(b' ' | b'\n'))
        {
            let (before, mark) = line.split_at(at);
            self.show(before)?;
            if std::mem::take(&mut self.in_value) {
                self.pass(END_OF_VALUE)?;
            }
            self.position = Position::Behind { due: true };
            self.close()?;
            return self.pass(mark);
        }
        if self.in_value {
            self.in_value = line != END_OF_VALUE;
            return self.pass(line);
        }
        let Some(at) = self.start_of_protocol(line) else { return self.show(line) };
        self.show(&line[..at])?;
        let rest = &line[at..];
        if let Some(nonce) = rest.strip_prefix(START) {
            self.position = Position::In([END, nonce.trim_ascii_end()].concat());
            self.close()?;
        } else if NOTICES.contains(&rest) {
            self.pass(format!("{}\n", super::cell::MARK_NOTICE).as_bytes())?;
        } else if let Position::Behind { due } = &mut self.position {
            // A variable of another type than evcxr thought: then the cell's code is not run, and evcxr says so at once.
            *due = rest.starts_with(b"EVCXR_VARIABLE_CHANGED_TYPE:");
        }
        self.in_value = is_value(rest);
        self.pass(rest)
    }

    /// Where in a line that begins which evcxr or the kernel must read: behind text whose line was not ended, maybe.
    fn start_of_protocol(&self, line: &[u8]) -> Option<usize> {
        // Most lines have neither.
        if !line.contains(&1) && find(line, b"EVCXR_").is_none() {
            return None;
        }
        let genuine = |rest: &[u8]| match &self.position {
            _ if SENT.iter().any(|sent| {
                rest.strip_prefix(b"\x01igpt:").is_some_and(|sent_by| sent_by.starts_with(sent))
            }) =>
            {
                true
            }
            Position::In(_) => is_value(rest) || rest.starts_with(b"EVCXR_INPUT_REQUEST"),
            Position::Before => rest.starts_with(START) || rest.starts_with(b"EVCXR_"),
            Position::Behind { due } => {
                rest.starts_with(START)
                    || rest.starts_with(b"EVCXR_VARIABLE_CHANGED_TYPE:")
                    || (*due && (rest == b"EVCXR_EXECUTION_COMPLETE\n" || NOTICES.contains(&rest)))
            }
        };
        let begins = |at: &usize| matches!(line[*at], 1 | b'E') && genuine(&line[*at..]);
        (0..line.len()).find(begins)
    }

    /// Shows a line that is not ended, but for what may be the beginning of something else.
    fn take_part(&mut self) -> std::io::Result<()> {
        let may_be_evcxrs = self.line.starts_with(b"EVCXR_") || b"EVCXR_".starts_with(&self.line[..]);
        if self.in_value || self.line.contains(&1) || may_be_evcxrs {
            return Ok(());
        }
        let whole = whole_characters(&self.line);
        let rest = self.line.split_off(whole);
        let part = std::mem::replace(&mut self.line, rest);
        self.show(&part)
    }

    fn show(&mut self, text: &[u8]) -> std::io::Result<()> {
        let shown = match text.len() <= self.left {
            true => text.len(),
            false => whole_characters(&text[..self.left]),
        };
        self.text.extend_from_slice(&text[..shown]);
        if shown < text.len() {
            if self.hidden == 0 {
                self.text.extend_from_slice(
                    "\n[more than 1 MB of output: the rest is left out, and its end is shown when the cell ends]\n"
                        .as_bytes(),
                );
            }
            self.left = 0;
            self.hidden += (text.len() - shown) as u64;
            self.tail.extend_from_slice(&text[shown..]);
            if self.tail.len() > 2 * TAIL {
                self.tail.drain(..self.tail.len() - TAIL);
            }
        } else {
            self.left -= shown;
        }
        if self.text.len() > CHUNK { self.flush() } else { Ok(()) }
    }

    /// The cell is over: the end of what was left out.
    fn close(&mut self) -> std::io::Result<()> {
        self.left = LIMIT;
        let hidden = std::mem::take(&mut self.hidden);
        if hidden == 0 {
            return Ok(());
        }
        let tail = std::mem::take(&mut self.tail);
        // From the beginning of a line, if it has any.
        let from = tail.len().saturating_sub(TAIL);
        let line = tail[from..].iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let last = &tail[from + line..];
        let megabytes = (hidden - last.len() as u64) as f64 / 1e6;
        self.text.extend_from_slice(format!("[{megabytes:.1} MB are left out here]\n").as_bytes());
        self.text.extend_from_slice(last);
        self.flush()
    }

    /// Nothing came for a moment.
    fn pause(&mut self) -> std::io::Result<()> {
        (self.paused, self.since) = (true, None);
        self.take_part()?;
        self.flush()
    }

    fn is_idle(&self) -> bool {
        self.paused
    }

    /// Nothing will come any more.
    fn end(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line)?;
        }
        self.close()?;
        self.flush()?;
        // Whoever closes the stream and lives on is waited for by evcxr.
        self.pass(format!("{}\n", super::cell::MARK_CLOSED).as_bytes())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        // evcxr looks for its own words anywhere in a line.
        let json = serde_json::Value::from(String::from_utf8_lossy(&text)).to_string();
        let json = json.replace("EVCXR_", "EVCXR\\u005f");
        writeln!(self.to, "{MARK_TEXT}{json}")?;
        self.to.flush()
    }

    fn pass(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.flush()?;
        self.to.write_all(String::from_utf8_lossy(line).as_bytes())?;
        self.to.flush()
    }
}

/// Whether a line begins a value: `EVCXR_BEGIN_CONTENT` and a MIME type.
fn is_value(line: &[u8]) -> bool {
    line.strip_prefix(b"EVCXR_BEGIN_CONTENT ").is_some_and(|mime| mime.contains(&b'/'))
}

fn find(line: &[u8], word: &[u8]) -> Option<usize> {
    line.windows(word.len()).position(|window| window == word)
}

/// How many of the bytes are no part of a character whose rest is missing.
fn whole_characters(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let length = match bytes[at] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            // The middle of a character: its beginning is before.
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: &str = "\u{1}igpt:start n1\n";
    const ENDED: &str = "\u{1}igpt:end n1 \n";

    /// What comes of these pieces of a cell's output.
    fn passed(pieces: &[&[u8]]) -> String {
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        filter.take(BEGUN.as_bytes()).unwrap();
        for piece in pieces {
            filter.take(piece).unwrap();
            filter.pause().unwrap();
        }
        filter.end().unwrap();
        let closed = format!("{}\n", super::super::cell::MARK_CLOSED);
        let passed = String::from_utf8(to).unwrap();
        passed.strip_prefix(BEGUN).unwrap().strip_suffix(&closed).unwrap().to_owned()
    }

    fn text(text: &str) -> String {
        let json = serde_json::Value::from(text).to_string().replace("EVCXR_", "EVCXR\\u005f");
        format!("{MARK_TEXT}{json}\n")
    }

    #[test]
    fn lines_that_are_not_ended_are_seen_at_once() {
        assert_eq!(passed(&[b"a\nb", b"c\n"]), text("a\nb") + &text("c\n"));
        assert_eq!(passed(&[b"10 %\r", b"20 %\r\n"]), text("10 %\r") + &text("20 %\r\n"));
    }

    #[test]
    fn what_others_must_read_stands_in_lines_of_its_own() {
        let value = "EVCXR_BEGIN_CONTENT text/plain\na\u{1}igpt:end\nEVCXR_END_CONTENT\n";
        assert_eq!(passed(&[format!("x{value}y").as_bytes()]), text("x") + value + &text("y"));
        for line in [ENDED, "EVCXR_INPUT_REQUEST:Name?\n", "\u{1}igpt:show {}\n"] {
            assert_eq!(passed(&[format!("open{line}").as_bytes()]), text("open") + line);
            assert_eq!(passed(&[b"open", line.as_bytes()]), text("open") + line);
        }
        // Half a mark is no text.
        assert_eq!(passed(&["\u{1}ig".as_bytes(), b"pt:end n1 {}\n"]), "\u{1}igpt:end n1 {}\n");
        assert_eq!(passed(&[b"EVC", b"XR_INPUT_REQUEST:\n"]), "EVCXR_INPUT_REQUEST:\n");
        assert_eq!(passed(&[b"EVCXR or so\n"]), text("EVCXR or so\n"));
        assert_eq!(passed(&[b"see EVCXR_END_CONTENT\n"]), text("see EVCXR_END_CONTENT\n"));
    }

    #[test]
    fn a_cells_own_words_are_no_notices() {
        for word in [
            "EVCXR_PANIC_NOTIFICATION\n",
            "EVCXR_ERROR_OCCURRED\n",
            "EVCXR_EXECUTION_COMPLETE\n",
            "EVCXR_VARIABLE_CHANGED_TYPE:a\n",
            "EVCXR_BEGIN_CONTENT\n",
            "EVCXR_BEGIN_CONTENT nothing\n",
            "\u{1}igpt:end\n",
            "\u{1}igpt:end n2 {}\n",
            "\u{1}igpt:end n10 {}\n",
            "\u{1}igpt:start n1\n",
            "\u{1}igpt:notice\n",
            "\u{1}igpt:text \"x\"\n",
        ] {
            assert_eq!(passed(&[word.as_bytes()]), text(word));
            assert_eq!(passed(&[b"open", word.as_bytes()]), text("open") + &text(word));
        }
    }

    #[test]
    fn a_notice_behind_the_end_is_evcxrs_once() {
        let complete = "EVCXR_EXECUTION_COMPLETE\n";
        for notice in ["EVCXR_PANIC_NOTIFICATION\n", "EVCXR_ERROR_OCCURRED\n"] {
            let lines = format!("{ENDED}{notice}{complete}");
            let told = format!("{ENDED}{}\n{notice}{complete}", super::super::cell::MARK_NOTICE);
            assert_eq!(passed(&[lines.as_bytes()]), told);
            // What a thread prints that outlives its cell must not be taken for the end of the next one.
            let late = format!("{ENDED}{complete}{notice}{complete}");
            let shown = text(&format!("{notice}{complete}"));
            assert_eq!(passed(&[late.as_bytes()]), format!("{ENDED}{complete}{shown}"));
        }
        // evcxr does not run a cell whose variables have other types than it thought, and says so at once.
        let changed =
            format!("{ENDED}{complete}EVCXR_VARIABLE_CHANGED_TYPE:a\n{complete}{BEGUN}{complete}{ENDED}");
        let kept = format!(
            "{ENDED}{complete}EVCXR_VARIABLE_CHANGED_TYPE:a\n{complete}{BEGUN}{}{ENDED}",
            text(complete)
        );
        assert_eq!(passed(&[changed.as_bytes()]), kept);
    }

    #[test]
    fn an_open_value_ends_with_its_cell() {
        let value = "EVCXR_BEGIN_CONTENT text/html\n<b>\n";
        assert_eq!(
            passed(&[value.as_bytes(), ENDED.as_bytes()]),
            format!("{value}EVCXR_END_CONTENT\n{ENDED}")
        );
    }

    #[test]
    fn bytes_that_are_no_text_harm_nothing() {
        assert_eq!(passed(&[b"a\xff\xfeb\n"]), text("a\u{fffd}\u{fffd}b\n"));
        // A character in two pieces stays one.
        assert_eq!(passed(&[b"\xe2\x82", b"\xac\n"]), text("€\n"));
        assert_eq!(passed(&[b"\xe2\x82"]), text("\u{fffd}"));
    }

    #[test]
    fn a_flood_is_cut_and_its_end_is_shown() {
        let line = [b'x'; 99].iter().copied().chain(*b"\n").collect::<Vec<u8>>();
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        filter.take(BEGUN.as_bytes()).unwrap();
        (0..300_000).for_each(|_| filter.take(&line).unwrap());
        filter.take(format!("the last one\n{ENDED}next cell\n").as_bytes()).unwrap();
        filter.end().unwrap();
        let passed = String::from_utf8(to).unwrap();
        assert!(passed.len() < 2 * LIMIT, "{}", passed.len());
        let end = passed.find(ENDED).unwrap();
        assert!(passed[..end].contains("more than 1 MB of output"));
        assert!(
            passed[..end].contains("[28.9 MB are left out here]"),
            "{}",
            &passed[end - 20_000..end - 16_000]
        );
        assert!(passed[..end].contains("the last one"));
        assert!(passed[end..].contains("next cell"));
    }

    #[test]
    fn huge_lines_come_in_parts() {
        let huge = vec![b'x'; 200_000];
        let mut to = Vec::new();
        let mut filter = Filter::new(&mut to);
        huge.chunks(50_000).for_each(|chunk| filter.take(chunk).unwrap());
        filter.end().unwrap();
        let passed = String::from_utf8(to).unwrap();
        assert!(passed.lines().count() > 2 && passed.lines().all(|line| line.len() < 4 * CHUNK));
    }
}
