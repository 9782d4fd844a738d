//! Terminal colours as HTML.

use std::fmt::Write as _;

use crate::run::text::escape;

/// The current style of the text.
#[derive(Default, Clone, PartialEq)]
struct Style {
    classes: [Option<String>; 2],
    colours: [Option<String>; 2],
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

/// Text as a terminal shows it: colours as spans, and what overwrites is applied. A carriage return goes back to the
/// line's begin, a backspace one character back, and the escapes that erase a line or move within it do so. All other
/// escapes are left out.
pub fn to_html(text: &str) -> String {
    to_html_within(text, usize::MAX)
}

/// The same, but only the first `limit` bytes of what is to be seen; says how much more there is.
pub fn to_html_within(text: &str, limit: usize) -> String {
    let mut screen = Screen { html: String::with_capacity(text.len().min(limit)), left: limit, hidden: 0 };
    let mut style = Style::default();
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix("\r\n").or_else(|| line.strip_suffix('\n')) {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        if overwrites(line) {
            overwritten(line, &mut style, &mut screen);
        } else {
            plain(line, &mut style, &mut screen);
        }
        screen.write(&Style::default(), end);
    }
    if screen.hidden > 0 {
        let _ = write!(screen.html, "\n… {} bytes more in the executed notebook", screen.hidden);
    }
    screen.html
}

/// The page, as far as it may grow.
struct Screen {
    html: String,
    left: usize,
    hidden: usize,
}

impl Screen {
    fn write(&mut self, style: &Style, text: &str) {
        let end = match text.len() <= self.left {
            true => text.len(),
            // Nothing after what was cut is shown, be it shorter.
            false => (0..=self.left).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0),
        };
        self.left = if end < text.len() { 0 } else { self.left - end };
        self.hidden += text.len() - end;
        style.write(&text[..end], &mut self.html);
    }
}

fn plain(line: &str, style: &mut Style, screen: &mut Screen) {
    let mut rest = line;
    while let Some(at) = rest.find('\x1b') {
        screen.write(style, &rest[..at]);
        let (sequence, after) = escape_sequence(&rest[at..]);
        if let Some((codes, 'm')) = sequence {
            style.apply(codes);
        }
        rest = after;
    }
    screen.write(style, rest);
}

/// Whether anything in the line moves back or erases.
fn overwrites(line: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find(['\r', '\x08', '\x1b']) {
        if !rest[at..].starts_with('\x1b') {
            return true;
        }
        let (sequence, after) = escape_sequence(&rest[at..]);
        if sequence.is_some_and(|(_, end)| matches!(end, 'K' | 'C' | 'D' | 'G')) {
            return true;
        }
        rest = after;
    }
    false
}

/// No terminal is wider: a movement by a million columns costs nothing.
const WIDEST: usize = 10_000;

/// A line on which something overwrites: kept in characters, each with its style, until it is complete.
fn overwritten(line: &str, style: &mut Style, screen: &mut Screen) {
    let mut styles = vec![style.clone()];
    let mut cells: Vec<(char, usize)> = Vec::new();
    let mut column = 0_usize;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        match c {
            '\r' => column = 0,
            '\x08' => column = column.saturating_sub(1),
            '\x1b' => {
                let (sequence, after) = escape_sequence(rest);
                rest = after;
                let Some((codes, end)) = sequence else { continue };
                let number = codes.parse::<usize>().ok();
                let steps = number.unwrap_or(1).clamp(1, WIDEST);
                let blank = (' ', 0);
                match (end, number.unwrap_or(0)) {
                    ('m', _) => {
                        style.apply(codes);
                        if styles.last() != Some(style) {
                            styles.push(style.clone());
                        }
                    }
                    ('K', 0) => cells.truncate(column),
                    ('K', 1) => {
                        let until = cells.len().min(column + 1);
                        cells[..until].fill(blank);
                    }
                    ('K', 2) => cells.clear(),
                    ('C', _) => column = column.max((column + steps).min(WIDEST)),
                    ('D', _) => column = column.saturating_sub(steps),
                    ('G', _) => column = steps - 1,
                    _ => {}
                }
                continue;
            }
            c => {
                if cells.len() < column {
                    cells.resize(column, (' ', 0));
                }
                let cell = (c, styles.len() - 1);
                match cells.get_mut(column) {
                    Some(old) => *old = cell,
                    None => cells.push(cell),
                }
                column += 1;
            }
        }
        rest = &rest[c.len_utf8()..];
    }
    for run in cells.chunk_by(|a, b| a.1 == b.1) {
        let text: String = run.iter().map(|(c, _)| c).collect();
        screen.write(&styles[run[0].1], &text);
    }
}

/// The parameters and the final letter of a leading CSI escape, and what follows the escape.
fn escape_sequence(text: &str) -> (Option<(&str, char)>, &str) {
    let body = &text[1..];
    if let Some(parameters) = body.strip_prefix('[') {
        let end = parameters.char_indices().find(|(_, c)| ('\x40'..='\x7e').contains(c));
        return match end {
            Some((end, letter)) => (Some((&parameters[..end], letter)), &parameters[end + 1..]),
            None => (None, ""),
        };
    }
    if let Some(command) = body.strip_prefix(']') {
        return match command.find(['\x07', '\x1b']) {
            Some(end) if command[end..].starts_with("\x1b\\") => (None, &command[end + 2..]),
            Some(end) => (None, &command[end + 1..]),
            None => (None, ""),
        };
    }
    let next = body.chars().next().map_or(0, char::len_utf8);
    (None, &body[next..])
}

impl Style {
    fn apply(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 => self.underline = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                30..=37 => self.named(0, code - 30),
                40..=47 => self.named(1, code - 40),
                90..=97 => self.named(0, code - 90 + 8),
                100..=107 => self.named(1, code - 100 + 8),
                39 => self.clear(0),
                49 => self.clear(1),
                38 | 48 => {
                    let ground = usize::from(code == 48);
                    match codes.next() {
                        Some(5) => match codes.next().unwrap_or(0) {
                            n @ 0..=15 => self.named(ground, n),
                            n => self.rgb(ground, palette(n)),
                        },
                        Some(2) => {
                            let mut part = || codes.next().unwrap_or(0).min(255);
                            self.rgb(ground, [part(), part(), part()]);
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn clear(&mut self, ground: usize) {
        self.classes[ground] = None;
        self.colours[ground] = None;
    }

    fn named(&mut self, ground: usize, number: u16) {
        self.clear(ground);
        self.classes[ground] = Some(format!("{}{number}", ["fg", "bg"][ground]));
    }

    fn rgb(&mut self, ground: usize, [r, g, b]: [u16; 3]) {
        self.clear(ground);
        self.colours[ground] = Some(format!("{}:rgb({r},{g},{b})", ["color", "background"][ground]));
    }

    fn write(&self, text: &str, html: &mut String) {
        if text.is_empty() {
            return;
        }
        if *self == Self::default() {
            html.push_str(&escape(text));
            return;
        }
        let flags =
            [(self.bold, "bold"), (self.dim, "dim"), (self.italic, "italic"), (self.underline, "underline")];
        let flags = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name);
        let classes: Vec<&str> = self.classes.iter().flatten().map(String::as_str).chain(flags).collect();
        let colours: Vec<&str> = self.colours.iter().flatten().map(String::as_str).collect();
        html.push_str("<span");
        if !classes.is_empty() {
            let _ = write!(html, " class=\"{}\"", classes.join(" "));
        }
        if !colours.is_empty() {
            let _ = write!(html, " style=\"{}\"", colours.join(";"));
        }
        let _ = write!(html, ">{}</span>", escape(text));
    }
}

/// The colours 16 to 255 of the xterm palette: a cube of six steps, then greys.
fn palette(number: u16) -> [u16; 3] {
    if number >= 232 {
        return [8 + (number.min(255) - 232) * 10; 3];
    }
    let step = |n: u16| if n == 0 { 0 } else { 55 + 40 * n };
    let number = number - 16;
    [step(number / 36), step(number / 6 % 6), step(number % 6)]
}

#[cfg(test)]
mod tests {
    use super::to_html;

    #[test]
    fn colours_become_spans() {
        assert_eq!(to_html("a\x1b[1;31m<b>\x1b[0mc"), "a<span class=\"fg1 bold\">&lt;b&gt;</span>c");
        assert_eq!(to_html("\x1b[38;5;9mx\x1b[39my"), "<span class=\"fg9\">x</span>y");
        assert_eq!(to_html("\x1b[38;5;16mx"), "<span style=\"color:rgb(0,0,0)\">x</span>");
        assert_eq!(to_html("\x1b[48;2;1;2;999mx\x1b[m"), "<span style=\"background:rgb(1,2,255)\">x</span>");
    }

    #[test]
    fn broken_escapes_do_no_harm() {
        for text in ["\x1b", "\x1b[", "\x1b[31", "\x1bä", "\x1b]8;;x", "\x1b[999;38m", "\x1b[38;5;300m."] {
            to_html(text);
        }
        assert_eq!(to_html("\x1b[2Kx\x1b]0;title\x07y"), "xy");
        for text in
            ["a\r\x1b", "a\r\x1b[", "\r\x1b[99999999999999999999C.", "\x08\x1b[1K", "\x1b[5K\r", "\x1b[-1G."]
        {
            to_html(text);
        }
        assert!(to_html("\x1b[999999999C.").len() <= super::WIDEST + 1);
    }

    #[test]
    fn what_overwrites_is_applied_as_in_a_terminal() {
        for (text, shown) in [
            ("10 %\r20 %\r100 %\nnext", "100 %\nnext"),
            ("a long line\rshort", "shortg line"),
            ("a long line\r\x1b[Kshort", "short"),
            ("a long line\x1b[2K\rshort", "short"),
            ("a long line\r\n next\r\n", "a long line\n next\n"),
            ("ab\x08c\x08\x08\x08\x08d", "dc"),
            ("abc\x1b[2DX", "aXc"),
            ("abc\x1b[1GX\x1b[2CY", "XbcY"),
            ("abcd\x08\x08\x1b[1K", "   d"),
            ("ä→\rö", "ö→"),
            ("no return\nat all", "no return\nat all"),
            ("a\r", "a"),
        ] {
            assert_eq!(to_html(text), shown, "{text:?}");
        }
        let colours = to_html("\x1b[31mred\x1b[0m plain\r\x1b[32mgr\x1b[0m");
        let parts = ["<span class=\"fg2\">gr</span>", "<span class=\"fg1\">d</span>", " plain"];
        assert_eq!(colours, parts.concat());
        // A colour goes on where nothing ended it.
        assert_eq!(to_html("\x1b[31ma\rb\nc"), "<span class=\"fg1\">b</span>\n<span class=\"fg1\">c</span>");
    }

    #[test]
    fn a_long_text_is_cut_after_overwriting() {
        let bar: String = (0..=100_000).map(|n| format!("\rstep {n}")).collect();
        assert_eq!(super::to_html_within(&bar, 100), "step 100000");
        assert_eq!(super::to_html_within("aä\nbcd", 2), "a\n… 6 bytes more in the executed notebook");
        assert_eq!(super::to_html_within("aä\nb", 5), "aä\nb");
    }
}
