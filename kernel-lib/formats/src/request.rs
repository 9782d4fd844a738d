//! What is asked of `igpt fetch`: a data set, and how its images are to be. The name of its file follows from it.

/// A data set with the settings that change what is in its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `cifar10`, or a repository of the hub, `owner/name`.
    pub name: String,
    /// Which of the repository's configurations.
    pub config: Option<String>,
    /// The column of images.
    pub image_column: Option<String>,
    /// The column of labels.
    pub label_column: Option<String>,
    /// Images are resized until their shorter side has this length, and the square in the middle is cut out.
    pub side: Option<usize>,
    /// Grey images become red = green = blue.
    pub rgb: bool,
}

impl Request {
    /// The data set `name` as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// How the name of its file begins; the first twelve digits of a revision follow.
    pub fn stem(&self) -> String {
        let options =
            [("config", &self.config), ("image", &self.image_column), ("label", &self.label_column)];
        let mut stem = plain(&self.name.replace('/', "--"));
        for (key, value) in options {
            stem.extend(value.iter().map(|value| format!("-{key}={}", plain(value))));
        }
        stem.extend(self.side.iter().map(|side| format!("-{side}px")));
        stem + if self.rgb { "-rgb" } else { "" }
    }

    /// The command's arguments that ask for it.
    pub fn arguments(&self) -> Vec<String> {
        let side = self.side.map(|side| side.to_string());
        let options = [
            ("--config", &self.config),
            ("--image-column", &self.image_column),
            ("--label-column", &self.label_column),
            ("--side", &side),
        ];
        let mut arguments = vec!["fetch".to_owned(), self.name.clone()];
        for (option, value) in options {
            arguments.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        arguments.extend(self.rgb.then(|| "--rgb".to_owned()));
        arguments
    }

    /// `igpt fetch cifar10`, for a user to type.
    pub fn command(&self) -> String {
        format!("igpt {}", self.arguments().join(" "))
    }
}

/// What can stand in a file's name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
