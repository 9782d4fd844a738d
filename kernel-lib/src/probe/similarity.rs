//! How alike the layers of a network are: linear CKA (centred kernel alignment; Kornblith et al., "Similarity of Neural Network
//! Representations Revisited", 2019) of their features.
//!
//! With centred features X and Y (N, F) of the same images,
//!
//! > CKA = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)
//!
//! (Frobenius norms): 1 for features that are rotations of each other, 0 for uncorrelated ones. ‖YᵀX‖² is the inner product of
//! X Xᵀ and Y Yᵀ (N, N), so that each layer's products are computed once, and not once for each pair of layers.

use super::kernels::{self, ROWS, dot};
use super::objective::{Design, Scaling};
use super::{FeatureLayers, Rounding};
use crate::show::{Cell, Show, Table, fixed};
use crate::{Error, Result, memory, stop};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Images of which the products with all others are in memory at a time.
const TILE: usize = 20;

/// Linear CKA of each pair of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Similarity {
    /// From 0 to 1, (L + 1, L + 1), symmetric; a row for each layer.
    pub cka: Vec<Vec<f64>>,
    /// Of how many images.
    pub images: usize,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

/// Compares the features of each pair of layers. Those of all layers are in memory together.
///
/// # Errors
/// If there is no image, or a layer's features are the same for all images; [`Error::Memory`] if there is no memory for
/// them; [`Error::Interrupted`] if someone asks to stop.
pub fn linear_cka(features: &dyn FeatureLayers) -> Result<Similarity> {
    const WHAT: &str = "the similarity of layers";
    let (layers, images, width) = (features.layers(), features.images(), features.width());
    if layers == 0 || images == 0 {
        return Err(Error::invalid("there are no features to compare"));
    }
    // Blocks are whole, and one layer's features are there twice for a while.
    memory::check(WHAT, &[layers + 1, images.next_multiple_of(ROWS), width, 4])?;
    let all: Vec<usize> = (0..images).collect();
    let mut designs = Vec::with_capacity(layers);
    for layer in 0..layers {
        stop::check(WHAT)?;
        let features = features.layer(layer)?;
        let mean = Scaling::of(&features, &all).mean;
        designs.push(Design::new(&features, &all, &Scaling { mean, inverse: vec![1.0; width] }));
    }
    // The sums of each tile, (L + 1, L + 1): which thread computes one says nothing of the order in which they are added.
    let of_tile = |first: usize| {
        let images: Vec<usize> = (first..images.min(first + TILE)).collect();
        let of_layer = |design: &Design| (!stop::requested()).then(|| products(design, &images));
        let products: Vec<Vec<f64>> = designs.iter().map(of_layer).collect::<Option<_>>()?;
        let mut sums = vec![0.0; layers * layers];
        for a in 0..layers {
            for b in 0..=a {
                sums[a * layers + b] = dot(&products[a], &products[b]);
            }
        }
        Some(sums)
    };
    let firsts: Vec<usize> = (0..images).step_by(TILE).collect();
    let tiles: Option<Vec<Vec<f64>>> = firsts.into_par_iter().map(of_tile).collect();
    let tiles = tiles.ok_or_else(|| stop::interrupted(WHAT))?;
    let mut sums = vec![0.0; layers * layers];
    for tile in tiles {
        sums.iter_mut().zip(tile).for_each(|(sum, x)| *sum += x);
    }
    let sum = |a: usize, b: usize| sums[a.max(b) * layers + a.min(b)];
    if let Some(layer) = (0..layers).find(|layer| sum(*layer, *layer) <= 0.0) {
        return Err(Error::invalid(format!(
            "the features of layer {layer} are the same for all {images} images: they are like no others"
        )));
    }
    let cka = |a: usize, b: usize| if a == b { 1.0 } else { sum(a, b) / (sum(a, a) * sum(b, b)).sqrt() };
    let cka = (0..layers).map(|a| (0..layers).map(|b| cka(a, b)).collect()).collect();
    let rounding = Rounding::largest((0..layers).map(|layer| features.rounding(layer)));
    Ok(Similarity { cka, images, rounding })
}

/// The inner products of these images with all, (n, N); what a last block has too many is zero.
fn products(design: &Design, images: &[usize]) -> Vec<f64> {
    let count = images.len();
    // As the weights of so many classes without intercepts.
    let mut weights = vec![0.0; (design.width + 1) * count];
    for (at, image) in images.iter().enumerate() {
        for (f, x) in design.row(*image).into_iter().enumerate() {
            weights[f * count + at] = f64::from(x);
        }
    }
    let mut products = Vec::new();
    let mut of_block = vec![0.0; count * ROWS];
    for (block, _) in design.packed() {
        kernels::logits(block, &weights, &mut of_block);
        products.extend_from_slice(&of_block);
    }
    products
}

impl Similarity {
    fn table(&self) -> Result<Table> {
        let head =
            std::iter::once("Layer".to_owned()).chain((0..self.cka.len()).map(|layer| layer.to_string()));
        let rows = self.cka.iter().enumerate().map(|(layer, row)| {
            let cells = row.iter().map(|cka| fixed(*cka, 2));
            std::iter::once(Cell::from(layer)).chain(cells).collect::<Vec<Cell>>()
        });
        let note = format!("Linear CKA of the features of {} images.", self.images);
        let note = Rounding::note(self.rounding, note);
        Ok(Table::new(head).rows(rows)?.caption("Similarity of layers").note(note))
    }
}

impl Show for Similarity {
    fn to_html(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_html())
    }
    fn to_text(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_text())
    }
}

crate::show::displays!(Similarity);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::FeatureMatrix;
    use crate::probe::tests::{images, on_threads, peer};

    #[derive(serde::Deserialize)]
    struct Expected {
        width: usize,
        cka: Vec<Vec<f64>>,
    }

    /// `tests/fixtures/similarity/make.py` made it: of the features of `../probe`, cut into layers.
    #[test]
    fn cka_is_that_of_its_definition() {
        let (features, _, _) = peer();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures/similarity/similarity.json");
        let expected: Expected = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let layers =
            FeatureMatrix::by_layer(features.values(), features.width() / expected.width, expected.width)
                .unwrap();
        let found = linear_cka(&layers).unwrap();
        assert_eq!((found.cka.len(), found.images), (expected.cka.len(), 700));
        for (ours, theirs) in found.cka.concat().iter().zip(expected.cka.concat()) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
        }
        assert_eq!(
            on_threads(1, || linear_cka(&layers).unwrap()),
            on_threads(3, || linear_cka(&layers).unwrap())
        );
    }

    #[test]
    fn a_rotation_changes_nothing_and_a_constant_is_like_nothing() {
        let (layers, _) = images(3, 300, 1, 2, 4);
        let turned = layers[0].values().chunks(2).flat_map(|x| [2.0 * x[1] + 5.0, -2.0 * x[0]]).collect();
        let both = vec![layers[0].clone(), FeatureMatrix::new(turned, 2).unwrap()];
        let found = linear_cka(&both).unwrap();
        assert!((found.cka[0][1] - 1.0).abs() < 1e-6 && found.cka[0][0] == 1.0, "{found:?}");
        let text = found.to_text();
        assert!(text.contains("1.00") && text.contains("300 images"), "{text}");
        let constant = vec![layers[0].clone(), FeatureMatrix::new(vec![1.0; 600], 2).unwrap()];
        assert!(linear_cka(&constant).unwrap_err().to_string().contains("layer 1"));
        assert!(linear_cka(&Vec::<FeatureMatrix>::new()).is_err());
    }
}
