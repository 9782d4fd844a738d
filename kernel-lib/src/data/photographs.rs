//! The colour photographs that are committed in this repository.

use super::Manifest;
use super::manifest::PhotographEntry;
use crate::image::Image;
use crate::show::{Show, displays};
use crate::{Error, Result};

/// A photograph with what is to be said of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Photograph {
    /// Its short name, `coffee`.
    pub name: String,
    /// Its title, for captions.
    pub title: String,
    /// Who made it, and where it was published.
    pub credit: String,
    /// The licence it is under.
    pub licence: String,
    /// The image.
    pub image: Image,
}

/// All photographs of this repository, in the order of their names. All are in the public domain or under CC0.
///
/// # Errors
/// If a file is not there, or not the one that was committed.
pub fn photographs() -> Result<Vec<Photograph>> {
    let manifest = Manifest::open()?;
    manifest.photographs().iter().map(|entry| read(&manifest, entry)).collect()
}

/// The photograph of this name.
///
/// # Errors
/// If there is none, or as [`photographs`].
pub fn photograph(name: &str) -> Result<Photograph> {
    let manifest = Manifest::open()?;
    let entry = manifest.photographs().iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = manifest.photographs().iter().map(|entry| entry.name.as_str()).collect();
        Error::invalid(format!("there is no photograph `{name}`; there are {}", names.join(", ")))
    })?;
    read(&manifest, entry)
}

fn read(manifest: &Manifest, entry: &PhotographEntry) -> Result<Photograph> {
    let image = Image::decode(&manifest.read(&entry.path)?, manifest.path(&entry.path))?;
    let licence = manifest.files().iter().find(|file| file.path == entry.path);
    Ok(Photograph {
        name: entry.name.clone(),
        title: entry.title.clone(),
        credit: entry.credit.clone(),
        licence: licence.map(|file| file.licence.clone()).unwrap_or_default(),
        image,
    })
}

impl Photograph {
    /// `A cup of coffee. Rachel Michetti, CC0`
    fn caption(&self) -> String {
        format!("{}. {}, {}", self.title, self.credit, self.licence)
    }
}

impl Show for Photograph {
    fn to_html(&self) -> String {
        self.image.tile(&format!("{}; {}", self.caption(), self.image.size())).to_html()
    }
    fn to_text(&self) -> String {
        format!("[{}; {}]\n", self.caption(), self.image.size())
    }
}

displays!(Photograph);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_colour_and_credited() {
        let photographs = photographs().unwrap();
        let names: Vec<_> = photographs.iter().map(|photograph| photograph.name.as_str()).collect();
        assert_eq!(names, ["astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket"]);
        for photograph in &photographs {
            assert_eq!(photograph.image.channels(), 3);
            assert!(!photograph.title.is_empty() && !photograph.credit.is_empty());
            assert!(["CC0", "public domain"].contains(&photograph.licence.as_str()));
            assert!(photograph.to_html().len() < 1_500_000, "{}", photograph.name);
        }
        let sizes: Vec<_> = photographs.iter().map(|p| (p.image.width(), p.image.height())).collect();
        assert_eq!(sizes, [(512, 512), (451, 300), (600, 400), (1000, 872), (1411, 1411), (640, 427)]);
    }

    #[test]
    fn one_is_found_by_name() {
        let cup = photograph("coffee").unwrap();
        assert_eq!(
            cup.to_text(),
            "[A cup of coffee. Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0; 600 × 400, RGB]\n"
        );
        assert_eq!(
            photograph("lena").unwrap_err().to_string(),
            "there is no photograph `lena`; there are astronaut, chelsea, coffee, hubble_deep_field, retina, rocket"
        );
    }
}
