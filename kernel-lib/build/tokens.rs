//! What a piece of code says, once everything is left out that decides no number.

use super::lists::OWN_CRATES;
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::BTreeSet;

/// A path as it is written: `crate::rng::Rng`, `Span`, `vec!`, `lanes::*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// Its parts, generic arguments left out.
    pub parts: Vec<String>,
    /// Whether it calls a macro.
    pub is_macro: bool,
    /// Whether it names all that a module has (`::*`).
    pub is_glob: bool,
}

/// What a piece of code says.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Its tokens, in one way of writing them.
    pub text: String,
    /// The paths in it.
    pub paths: BTreeSet<Written>,
    /// The names of methods, functions and constants of types that it may ask for: `name` of `x.name(…)` and `X::name`.
    pub names: BTreeSet<String>,
    /// The files that it includes, as it names them.
    pub files: Vec<String>,
}

/// What is known where tokens stand.
#[derive(Clone, Copy)]
struct Where<'a> {
    is_error: &'a dyn Fn(&[String]) -> bool,
    in_attribute: bool,
    /// In a macro any name may become anything.
    in_macro: bool,
}

impl Said {
    /// Reads tokens. Left out are comments, documentation, lints, trailing commas, and what an error is made of: the
    /// arguments of a call, or the fields of a variant, of a path of which `is_error` is true.
    pub fn by(tokens: TokenStream, is_error: &dyn Fn(&[String]) -> bool) -> Self {
        let mut said = Self::default();
        said.walk(tokens, &[], Where { is_error, in_attribute: false, in_macro: false });
        said
    }

    /// Whether a group that follows is the arguments of a call, or of a type.
    fn ends_in_a_name(&self) -> bool {
        const KEYWORDS: [&str; 9] = ["as", "break", "else", "if", "in", "match", "return", "while", "yield"];
        self.text.trim_end().rsplit(' ').next().is_some_and(|last| is_name(last) && !KEYWORDS.contains(&last))
    }

    fn say(&mut self, token: &str) {
        self.text.push_str(token);
        self.text.push(' ');
    }

    /// `before` is the path that a group of a `use` continues: `crate::a` in `use crate::a::{b, c}`.
    fn walk(&mut self, tokens: TokenStream, before: &[String], here: Where<'_>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    let bang = usize::from(is_punct(tokens.get(at + 1), '!'));
                    if let Some(TokenTree::Group(group)) = tokens.get(at + 1 + bang)
                        && group.delimiter() == Delimiter::Bracket
                    {
                        if !says_nothing(&group.stream()) {
                            self.say("#[");
                            self.walk(group.stream(), &[], Where { in_attribute: true, ..here });
                            self.say("]");
                        }
                        at += 1 + bang;
                    } else {
                        self.say("#");
                    }
                }
                // A lifetime's name is no path.
                TokenTree::Punct(p) if p.as_char() == '\'' && p.spacing() == Spacing::Joint => {
                    self.say(&format!(
                        "'{}",
                        tokens.get(at + 1).map(ToString::to_string).unwrap_or_default()
                    ));
                    at += 1;
                }
                TokenTree::Punct(p) => {
                    self.text.push(p.as_char());
                    if p.spacing() == Spacing::Alone || matches!(p.as_char(), ',' | ';') {
                        self.text.push(' ');
                    }
                }
                TokenTree::Literal(literal) => {
                    let literal = literal.to_string();
                    self.strings(&literal, here.in_attribute);
                    self.say(&literal);
                }
                TokenTree::Group(group) => {
                    let called = at > 0 && is_punct(tokens.get(at - 1), '!');
                    self.group(group, &[], Where { in_macro: here.in_macro || called, ..here });
                }
                TokenTree::Ident(_) => {
                    at = self.path(&tokens, at, before, here);
                    continue;
                }
            }
            at += 1;
        }
    }

    fn group(&mut self, group: &proc_macro2::Group, before: &[String], here: Where<'_>) {
        let [open, close] = match group.delimiter() {
            Delimiter::Parenthesis => ["(", ")"],
            Delimiter::Brace => ["{", "}"],
            Delimiter::Bracket => ["[", "]"],
            Delimiter::None => ["", ""],
        };
        let called = self.ends_in_a_name();
        self.say(open);
        self.walk(group.stream(), before, here);
        // rustfmt adds a comma at the end of what it breaks into lines. Only `(x,)` is another thing than `(x)`.
        if self.text.ends_with(", ") {
            let comma = |token: &TokenTree| is_punct(Some(token), ',');
            let several = || group.stream().into_iter().filter(comma).count() > 1;
            if group.delimiter() != Delimiter::Parenthesis || called || several() {
                self.text.truncate(self.text.len() - 2);
            }
        }
        self.say(close);
    }

    /// Reads a path that begins at `start`, and returns where it ends.
    fn path(&mut self, tokens: &[TokenTree], start: usize, before: &[String], here: Where<'_>) -> usize {
        // `x.name` is a field or a method, `..name` may be a path. What follows `::` alone belongs to a path with
        // generic arguments, whose head was read, or to the path of another crate; those of this repository are followed.
        let is = |back: usize, c: char| start >= back && is_punct(tokens.get(start - back), c);
        let field = is(1, '.') && !is(2, '.');
        let own = |ident: &proc_macro2::Ident| OWN_CRATES.iter().any(|(name, _)| ident == name);
        let is_own = matches!(tokens.get(start), Some(TokenTree::Ident(ident)) if own(ident));
        let rest = is(1, ':') && is(2, ':') && !is_own;
        let defined = matches!(start.checked_sub(1).map(|at| &tokens[at]), Some(TokenTree::Ident(word)) if word == "fn");
        let mut at = start;
        let mut parts = before.to_vec();
        let mut end = None;
        while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
            let name = ident.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
            self.say(&name);
            at += 1;
            let goes_on = is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':');
            let called = matches!(tokens.get(at), Some(TokenTree::Group(_)));
            if here.in_macro || rest || !parts.is_empty() || field && (goes_on || called) {
                self.names.insert(name.clone());
            }
            parts.push(name);
            if !goes_on {
                break;
            }
            self.say("::");
            at += 2;
            if !matches!(tokens.get(at), Some(TokenTree::Ident(_))) {
                end = tokens.get(at);
                break;
            }
        }
        let is_macro =
            is_punct(tokens.get(at), '!') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
        let is_glob = is_punct(end, '*');
        if is_macro && let Some(TokenTree::Group(group)) = tokens.get(at + 1) {
            match parts.last().map(String::as_str) {
                Some("include_str" | "include_bytes") => self.files.push(group.stream().to_string()),
                // Its code would have to be read as if it stood there.
                Some("include") => self.files.push(format!("include!({})", group.stream())),
                _ => {}
            }
        }
        if let Some(TokenTree::Group(group)) = end
            && group.delimiter() == Delimiter::Brace
        {
            self.group(group, &parts, here);
            return at + 1;
        }
        if field || rest || defined && !here.in_macro {
            return at;
        }
        if (here.is_error)(&parts) {
            let constructor = parts.last().is_some_and(|name| name.starts_with(|c: char| c.is_lowercase()));
            if let Some(TokenTree::Group(group)) = tokens.get(at)
                && matches!(group.delimiter(), Delimiter::Parenthesis | Delimiter::Brace)
                && (constructor || computes(group.stream()))
            {
                self.say("(error)");
                return at + 1;
            }
        }
        self.paths.insert(Written { parts, is_macro, is_glob });
        at
    }

    /// Names in a string: of a format (`"{name}"`), and in an attribute all of it (`default = "default::batch"`).
    fn strings(&mut self, literal: &str, in_attribute: bool) {
        let Some(text) = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            if literal.contains('"') {
                self.formats(literal);
            }
            return;
        };
        self.formats(text);
        let parts: Vec<String> = text.split("::").map(str::to_owned).collect();
        if in_attribute && parts.iter().all(|part| is_name(part)) {
            self.names.extend(parts.iter().cloned());
            // `with = "module"` means what is in it.
            self.paths.insert(Written { parts, is_macro: false, is_glob: true });
        }
    }

    fn formats(&mut self, text: &str) {
        for place in text.split('{').skip(1) {
            for name in place.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|name| is_name(name))
            {
                self.names.insert(name.to_owned());
                self.paths.insert(Written { parts: vec![name.to_owned()], is_macro: false, is_glob: false });
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == wanted)
}

/// Whether an attribute is for readers and lints only.
fn says_nothing(attribute: &TokenStream) -> bool {
    let first = attribute.clone().into_iter().next().map(|token| token.to_string());
    first.is_some_and(|name| {
        ["allow", "deny", "doc", "expect", "must_use", "rustfmt", "warn"].contains(&name.as_str())
    })
}

/// Whether this calls a method or a macro, so that it is no pattern, which could decide what is computed.
fn computes(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| {
        let method = matches!(token, TokenTree::Ident(_))
            && at > 1
            && is_punct(tokens.get(at - 1), '.')
            && !is_punct(tokens.get(at - 2), '.');
        let called = matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
        let is_macro = at > 0 && is_punct(Some(token), '!') && matches!(tokens[at - 1], TokenTree::Ident(_));
        (method || is_macro) && called
    })
}
