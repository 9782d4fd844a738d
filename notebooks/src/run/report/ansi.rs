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

/// Text with SGR escapes as spans; all other escapes are left out.
pub fn to_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 8);
    let mut style = Style::default();
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        style.write(&rest[..at], &mut html);
        let (codes, after) = escape_sequence(&rest[at..]);
        if let Some(codes) = codes {
            style.apply(codes);
        }
        rest = after;
    }
    style.write(rest, &mut html);
    html
}

/// The codes of a leading SGR escape, and what follows the escape.
fn escape_sequence(text: &str) -> (Option<&str>, &str) {
    let body = &text[1..];
    if let Some(parameters) = body.strip_prefix('[') {
        let end = parameters.find(|c: char| ('\x40'..='\x7e').contains(&c));
        return match end {
            Some(end) if parameters[end..].starts_with('m') => {
                (Some(&parameters[..end]), &parameters[end + 1..])
            }
            Some(end) => (None, &parameters[end + 1..]),
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
    }
}
