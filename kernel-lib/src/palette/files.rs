//! Palettes in files: OpenAI's `.npy`, and Hugging Face's `preprocessor_config.json`.
//!
//! `.npy` is read here and not with candle's `Tensor::read_npy`, which allocates whatever a header claims before it looks
//! at the numbers: a damaged file would end the process.

use super::Palette;
use crate::{Error, Result, atomic, json as strict};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

impl Palette {
    /// Reads a palette as OpenAI published it (`kmeans_centers.npy`): a NumPy file of format 1.0 or 2.0 that holds
    /// a (k, channels) array of little-endian `f32` in C order.
    ///
    /// # Errors
    /// If the file cannot be read, is not such a file, or its numbers are not a palette.
    pub fn read_npy(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        parse_npy(&bytes).map_err(|what| Error::format(path, what))
    }

    /// Writes the palette as [`read_npy`](Self::read_npy) reads it (format 1.0). The file is complete or not there: it
    /// is written beside its place and then renamed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let header = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
            self.len(),
            self.channels()
        );
        // The numbers begin at a multiple of 64 bytes, after magic, version, length, header, spaces and a newline.
        let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend(format!("{header:width$}\n", width = length - 1).bytes());
        bytes.extend(self.centres().iter().flat_map(|x| x.to_le_bytes()));
        atomic::write(path.as_ref(), &bytes)
    }

    /// Reads the palette, `clusters`, of a `preprocessor_config.json` of Hugging Face's ImageGPT.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, or has no `clusters` that are a palette.
    pub fn read_preprocessor_config(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        parse_config(&bytes).map_err(|what| Error::format(path, what))
    }

    /// Writes a `preprocessor_config.json` for Hugging Face's ImageGPT processor: this palette, and images of `size`
    /// × `size` pixels, resized by bilinear interpolation, as in the files of the released models. If the file is there
    /// already, its other fields stay as they are. The file is complete or not there, as with
    /// [`write_npy`](Self::write_npy).
    ///
    /// # Errors
    /// If the palette is one of greys, which that processor cannot use; if there is a file already that is not a JSON
    /// object; if the file cannot be written.
    pub fn write_preprocessor_config(&self, path: impl AsRef<Path>, size: usize) -> Result<()> {
        let path = path.as_ref();
        if self.channels() != 3 {
            return Err(Error::invalid(
                "Hugging Face's ImageGPT processor takes red, green and blue, and this is a palette of greys: write it \
                 as .npy",
            ));
        }
        let mut config = match fs::read(path) {
            Ok(bytes) => strict::from_slice::<Map<String, Value>>(&bytes)
                .map_err(|e| Error::format(path, format!("not a JSON object, so it is not replaced: {e}")))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(e) => return Err(Error::io(path, e)),
        };
        // As f64, in which each f32 has its exact value: NumPy computes with these.
        let rows = self.centres().chunks_exact(3).map(|row| row.iter().map(|&x| f64::from(x)).collect());
        config.insert("clusters".to_owned(), json!(rows.collect::<Vec<Vec<f64>>>()));
        for (key, value) in [
            ("do_normalize", json!(true)),
            ("do_resize", json!(true)),
            ("feature_extractor_type", json!("ImageGPTFeatureExtractor")),
            ("image_processor_type", json!("ImageGPTImageProcessor")),
            ("resample", json!(2)),
        ] {
            config.entry(key).or_insert(value);
        }
        config.insert("size".to_owned(), json!({ "height": size, "width": size }));
        let mut text =
            serde_json::to_string_pretty(&config).map_err(|e| Error::format(path, e.to_string()))?;
        text.push('\n');
        atomic::write(path, text.as_bytes())
    }
}

/// The palette in a `.npy` file, or what is wrong with it.
fn parse_npy(bytes: &[u8]) -> Result<Palette, String> {
    let cut = "the file ends in its header";
    let rest =
        bytes.strip_prefix(b"\x93NUMPY").ok_or("not a NumPy file (it does not begin with \\x93NUMPY)")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(cut)?;
    let (length, rest) = match version {
        [1, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2, 0] => {
            let (length, rest) = rest.split_first_chunk().ok_or(cut)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        [major, minor] => return Err(format!("NumPy format {major}.{minor} (1.0 and 2.0 are understood)")),
    };
    let (header, data) = rest.split_at_checked(length).ok_or(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?.trim();

    let descr = field(header, "descr")?;
    if descr != "'<f4'" {
        return Err(format!("numbers of type {descr} (a palette has '<f4', little-endian f32)"));
    }
    match field(header, "fortran_order")? {
        "False" => {}
        "True" => return Err("numbers in Fortran order (a palette has C order)".to_owned()),
        other => return Err(format!("a fortran_order of {other}")),
    }
    let shape = field(header, "shape")?;
    let sizes: Option<Vec<usize>> = shape
        .strip_prefix('(')
        .and_then(|shape| shape.strip_suffix(')'))
        .map(|sizes| sizes.strip_suffix(',').unwrap_or(sizes))
        .and_then(|sizes| sizes.split(',').map(|size| size.trim().parse().ok()).collect());
    let &[k, channels] = sizes.as_deref().unwrap_or(&[]) else {
        return Err(format!("an array of shape {shape} (a palette has two dimensions: colours, channels)"));
    };
    if k.checked_mul(channels).and_then(|n| n.checked_mul(4)) != Some(data.len()) {
        return Err(format!("{} bytes of numbers, which is not an f32 array of shape {shape}", data.len()));
    }
    let centres = data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    Palette::new(channels, centres).map_err(|e| e.to_string())
}

/// The text of a value in the header, a Python dictionary of strings, booleans and tuples of numbers.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("the header has no {key}: {header:?}");
    let (_, value) = header.split_once(&format!("'{key}'")).ok_or_else(missing)?;
    if value.contains(&format!("'{key}'")) {
        return Err(format!("the header has {key} twice: {header:?}"));
    }
    let value = value.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    // A tuple ends with its parenthesis, a string or a boolean with a comma or the dictionary.
    let end = if value.starts_with('(') { value.find(')').map(|at| at + 1) } else { value.find([',', '}']) };
    Ok(value[..end.ok_or_else(missing)?].trim_end())
}

/// The palette in a `preprocessor_config.json`, or what is wrong with it.
fn parse_config(bytes: &[u8]) -> Result<Palette, String> {
    let config: Value = strict::from_slice(bytes).map_err(|e| format!("not JSON: {e}"))?;
    let clusters =
        config.get("clusters").ok_or("no field `clusters`: not the file of an ImageGPT processor")?;
    let rows = clusters.as_array().ok_or("`clusters` is not a list of colours")?;
    let mut centres = Vec::with_capacity(rows.len() * 3);
    for (at, row) in rows.iter().enumerate() {
        let row = row.as_array().filter(|row| row.len() == 3);
        let row = row.ok_or_else(|| format!("row {at} of `clusters` is not a list of 3 numbers"))?;
        for number in row {
            let number = number.as_f64().ok_or_else(|| format!("row {at} of `clusters` holds {number}"))?;
            centres.push(number as f32);
        }
    }
    Palette::new(3, centres).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn palette() -> Palette {
        Palette::new(3, vec![-1.0, 0.1, 1.0, 0.886_644_4, f32::MIN_POSITIVE, -0.333_333_34]).unwrap()
    }

    fn npy(version: &[u8], header: &str, data: usize) -> Vec<u8> {
        let mut bytes = [b"\x93NUMPY", version].concat();
        if version == [2, 0] {
            bytes.extend((header.len() as u32).to_le_bytes());
        } else {
            bytes.extend((header.len() as u16).to_le_bytes());
        }
        bytes.extend(header.bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let grey = Palette::new(1, vec![0.25, -0.5]).unwrap();
        for palette in [palette(), grey.clone()] {
            let path = folder.path().join("centres.npy");
            palette.write_npy(&path).unwrap();
            assert_eq!(Palette::read_npy(&path).unwrap(), palette);
            assert_eq!((fs::read(&path).unwrap().len() - 4 * palette.centres().len()) % 64, 0);
        }
        let path = folder.path().join("preprocessor_config.json");
        palette().write_preprocessor_config(&path, 32).unwrap();
        assert_eq!(Palette::read_preprocessor_config(&path).unwrap(), palette());
        assert!(grey.write_preprocessor_config(&path, 32).is_err());
        // Nothing unfinished stays.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn other_fields_of_a_config_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preprocessor_config.json");
        fs::write(&path, r#"{"mine": [1, {"a": null}], "resample": 3, "size": 48, "clusters": []}"#).unwrap();
        palette().write_preprocessor_config(&path, 64).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["mine"], json!([1, { "a": null }]));
        assert_eq!((&config["resample"], &config["do_resize"]), (&json!(3), &json!(true)));
        assert_eq!(config["size"], json!({ "height": 64, "width": 64 }));
        assert_eq!(Palette::read_preprocessor_config(&path).unwrap(), palette());
        fs::write(&path, "[1]").unwrap();
        assert!(palette().write_preprocessor_config(&path, 64).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"[1]");
    }

    #[test]
    fn both_versions_and_other_spellings_of_the_header_are_read() {
        for header in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
            "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
            "{'shape': (2, 3,), 'descr': '<f4', 'fortran_order': False}\n",
        ] {
            for version in [[1, 0], [2, 0]] {
                assert_eq!(parse_npy(&npy(&version, header, 24)).unwrap().len(), 2, "{header}");
            }
        }
    }

    #[test]
    fn what_is_no_palette_is_refused_with_its_reason() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
        for (bytes, reason) in [
            (b"".to_vec(), "not a NumPy file"),
            (b"\x93NUMPY".to_vec(), "ends in its header"),
            (npy(&[3, 0], good, 24), "format 3.0"),
            (npy(&[1, 0], good, 23), "23 bytes of numbers"),
            (npy(&[1, 0], good, 25), "25 bytes of numbers"),
            (npy(&[1, 0], good, 24)[..40].to_vec(), "ends in its header"),
            (npy(&[1, 0], &good.replace("<f4", ">f4"), 24), "type '>f4'"),
            (npy(&[1, 0], &good.replace("<f4", "<f8"), 48), "type '<f8'"),
            (npy(&[1, 0], &good.replace("False", "True"), 24), "Fortran order"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(6,)"), 24), "shape (6,)"),
            (npy(&[1, 0], &good.replace("(2, 3)", "()"), 4), "shape ()"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(1, 2, 3)"), 24), "shape (1, 2, 3)"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(-2, 3)"), 24), "shape (-2, 3)"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(9223372036854775807, 3)"), 24), "24 bytes"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(3, 2)"), 24), "2 channels"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(0, 3)"), 0), "0 numbers"),
            (npy(&[1, 0], &good.replace("(2, 3)", "(2, 3"), 24), "no shape"),
            (npy(&[1, 0], &good.replace(", }", ", 'shape': (2, 3)}"), 24), "has shape twice"),
            (npy(&[1, 0], "{}", 24), "no descr"),
            (npy(&[1, 0], "'descr'", 24), "no descr"),
            (npy(&[1, 0], "{'descr': é", 24), "no descr"),
        ] {
            let error = parse_npy(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
        for number in [f32::NAN, f32::INFINITY, 127.0] {
            let mut bytes = npy(&[1, 0], good, 20);
            bytes.extend(number.to_le_bytes());
            assert!(parse_npy(&bytes).unwrap_err().contains("not on the scale [-1, 1]"));
        }
        for (text, reason) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            (r#"{"clusters": [[NaN, 0, 0]]}"#, "not JSON"),
            ("[]", "no field `clusters`"),
            (r#"{"clusters": 5}"#, "not a list of colours"),
            (r#"{"clusters": []}"#, "0 numbers"),
            (r#"{"clusters": [[0, 0, 0], [0, 0]]}"#, "row 1 of `clusters` is not"),
            (r#"{"clusters": [[0, 0, "0"]]}"#, "row 0 of `clusters` holds \"0\""),
            (r#"{"clusters": [[0, 0, 255]]}"#, "scale [-1, 1]"),
            (r#"{"clusters": [[0, 0, 1e300]]}"#, "colour 0 of the palette has a channel of inf"),
            (r#"{"clusters": [[0, 0, 0]], "clusters": [[1, 1, 1]]}"#, "\"clusters\" is there twice"),
        ] {
            let error = parse_config(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error:?} does not say {reason:?}");
        }
        // Every prefix of good files is refused, and none panics.
        let bytes = npy(&[1, 0], good, 24);
        assert!((0..bytes.len()).all(|end| parse_npy(&bytes[..end]).is_err()));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing").join("centres.npy");
        assert!(palette().write_npy(&missing).unwrap_err().to_string().contains("centres.npy"));
        // The place is taken by a folder: renaming fails, and nothing stays.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(palette().write_npy(&taken).is_err() && palette().write_npy("/").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Palette::read_npy(folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
