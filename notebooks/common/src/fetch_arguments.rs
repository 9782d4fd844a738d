//! The arguments of `igpt fetch`. The command reads them too, so that a mistake is told at once and `--help` is there before
//! the program that does the work is compiled.

use std::path::PathBuf;

use clap::Args;

/// What to fetch, and how its images are to be.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Names of the list, or a data set of the hub, OWNER/NAME
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub names: Vec<String>,
    /// Show what can be fetched by name, how large it is, its licence, and whether it is here
    #[arg(long)]
    pub list: bool,
    /// The configuration of a data set that has several: the name of its folder
    #[arg(long, value_name = "NAME")]
    pub config: Option<String>,
    /// The column of images [default: image or img]
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,
    /// The column of labels [default: label]
    #[arg(long, value_name = "NAME")]
    pub label_column: Option<String>,
    /// Resize each image until its shorter side has this many pixels, and cut out the square in the middle
    #[arg(long, value_name = "PIXELS")]
    pub side: Option<usize>,
    /// Make grey images red = green = blue; else they stay grey if the first one is
    #[arg(long)]
    pub rgb: bool,
    /// Take the images from this folder, with train/CLASS/*.JPEG and val/CLASS/*.JPEG (for imagenet, IGPT_IMAGENET
    /// names it too)
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}
