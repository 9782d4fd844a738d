//! The names of classes in the front matter of a repository's README, where its Parquet files do not have them.
//!
//! What the hub's `datasets` library writes there is a small part of YAML, and only that is read:
//!
//! ```yaml
//! dataset_info:
//!   features:
//!   - name: label
//!     dtype:
//!       class_label:
//!         names:
//!           '0': tench, Tinca tinca
//!           '1': goldfish
//! ```

/// The classes of the column `column`, if they are there; of the configuration `config`, where several are described.
pub(super) fn in_readme(readme: &str, config: Option<&str>, column: &str) -> Option<Vec<String>> {
    let front = readme.strip_prefix("---")?.split("\n---").next()?;
    let mut lines = front.lines().peekable();
    let mut is_config = true;
    while let Some(line) = lines.next() {
        let text = line.trim_start().trim_start_matches("- ");
        if let (Some(name), Some(config)) = (text.strip_prefix("config_name:"), config) {
            is_config = unquoted(name) == config;
        }
        if !is_config || text.strip_prefix("name:").map(unquoted).as_deref() != Some(column) {
            continue;
        }
        // What belongs to this column is deeper than the dash before its name.
        let depth = indent(line);
        while let Some(line) = lines.next_if(|line| indent(line) > depth) {
            if line.trim() == "names:" {
                return names(&mut lines, indent(line));
            }
        }
    }
    None
}

/// The entries after a line `names:`, which are deeper than it.
fn names<'a>(
    lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    depth: usize,
) -> Option<Vec<String>> {
    let entries = indent(lines.peek()?);
    let mut found: Vec<(usize, String)> = Vec::new();
    while let Some(line) = lines.next_if(|line| indent(line) > depth) {
        // A long name goes on in the next line, deeper.
        if indent(line) > entries {
            let (_, name) = found.last_mut()?;
            name.push(' ');
            name.push_str(line.trim());
            continue;
        }
        let (number, name) = line.trim().split_once(':')?;
        found.push((unquoted(number).parse().ok()?, name.trim().to_owned()));
    }
    found.sort();
    let is_whole = !found.is_empty() && found.iter().map(|(number, _)| *number).eq(0..found.len());
    is_whole.then(|| found.into_iter().map(|(_, name)| unquoted(&name)).collect())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A scalar without its quotation marks.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return inner.replace("''", "'");
    }
    // YAML's double quotes are JSON's, in all that occurs in a name.
    serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "---
license: mit
dataset_info:
- config_name: plain
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': tench, Tinca tinca
          '1': 'it''s'
          '2': a name so long that whoever wrote it
            broke the line
          '3': \"caf\\u00e9\"
  - name: other
    dtype: int64
  splits:
  - name: train
    num_bytes: 1
- config_name: small
  features:
  - name: label
    dtype:
      class_label:
        names:
          0: yes
configs:
- config_name: plain
---
# names:
";

    #[test]
    fn names_are_found_by_column_and_configuration() {
        let names = |config, column| in_readme(README, config, column);
        let plain =
            ["tench, Tinca tinca", "it's", "a name so long that whoever wrote it broke the line", "café"];
        assert_eq!(names(None, "label").unwrap(), plain);
        assert_eq!(names(Some("plain"), "label").unwrap(), plain);
        assert_eq!(names(Some("small"), "label").unwrap(), ["yes"]);
        for (config, column) in [(None, "image"), (None, "other"), (None, "x"), (Some("x"), "label")] {
            assert_eq!(names(config, column), None, "{config:?} {column}");
        }
    }

    #[test]
    fn what_is_not_whole_is_not_taken() {
        assert_eq!(in_readme(&README.replace("'1':", "'7':"), None, "label"), None);
        assert_eq!(in_readme(&README.replace("'1':", "one"), None, "label"), None);
        assert_eq!(in_readme("# A data set", None, "label"), None);
        for end in (0..README.len()).filter(|end| README.is_char_boundary(*end)) {
            let _ = in_readme(&README[..end], Some("plain"), "label");
        }
    }
}
