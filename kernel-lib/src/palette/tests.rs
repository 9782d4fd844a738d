use super::*;
use crate::rng::Rng;
use std::path::PathBuf;

/// Pixels around a few colours, as images have them, and some anywhere.
fn pixels(n: usize, channels: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::keyed(seed, "test pixels", [0, 0]);
    let kinds: Vec<[f64; 3]> = (0..12).map(|_| [0; 3].map(|_| 255.0 * rng.uniform())).collect();
    let mut bytes = Vec::new();
    for _ in 0..n {
        let kind = kinds[rng.below(kinds.len())];
        let anywhere = rng.below(10) == 0;
        for level in &kind[..channels] {
            bytes.push(if anywhere { rng.below(256) as u8 } else { (level + 20.0 * rng.normal()) as u8 });
        }
    }
    bytes
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Lloyd's algorithm as a textbook has it, O(pixels · k) in whole numbers: units are 1/GRID grey levels.
struct Naive {
    centres: Vec<Vec<i64>>,
    nearest: Vec<usize>,
    inertia: i64,
}

impl Naive {
    const GRID: i64 = 131_072;

    fn assign(pixels: &[u8], channels: usize, centres: Vec<Vec<i64>>) -> Self {
        let (mut nearest, mut inertia) = (Vec::new(), 0);
        for pixel in pixels.chunks_exact(channels) {
            let (distance, first) =
                (0..centres.len()).map(|j| (Self::distance(pixel, &centres[j]), j)).min().unwrap();
            nearest.push(first);
            inertia += distance;
        }
        Self { centres, nearest, inertia }
    }

    fn distance(pixel: &[u8], centre: &[i64]) -> i64 {
        pixel.iter().zip(centre).map(|(&x, m)| (i64::from(x) * Self::GRID - m).pow(2)).sum()
    }

    fn step(self, pixels: &[u8], channels: usize) -> Self {
        let mut next = self.centres.clone();
        let mut empty = Vec::new();
        for (j, next) in next.iter_mut().enumerate() {
            let own: Vec<_> = pixels
                .chunks_exact(channels)
                .zip(&self.nearest)
                .filter(|(_, n)| **n == j)
                .map(|(p, _)| p)
                .collect();
            if own.is_empty() {
                empty.push(j);
                continue;
            }
            for i in 0..channels {
                let sum: i64 = own.iter().map(|pixel| i64::from(pixel[i])).sum();
                let n = own.len() as i64;
                next[i] = (2 * sum * Self::GRID + n).div_euclid(2 * n);
            }
        }
        // By distance, the largest first, then by place on the Z-order curve.
        let mut farthest: Vec<_> = pixels
            .chunks_exact(channels)
            .zip(&self.nearest)
            .map(|(pixel, &j)| {
                let code = nearest::morton([0, 1, 2].map(|i| pixel.get(i).copied().unwrap_or(0)));
                (-Self::distance(pixel, &self.centres[j]), code, pixel)
            })
            .collect();
        farthest.sort_unstable();
        farthest.dedup();
        for (j, (_, _, pixel)) in empty.into_iter().zip(farthest) {
            next[j] = pixel.iter().map(|&x| i64::from(x) * Self::GRID).collect();
        }
        Self::assign(pixels, channels, next)
    }
}

#[test]
fn equals_textbook_lloyd_exactly() {
    for (n, channels, k, seed) in [(3_000, 3, 64, 1), (2_000, 3, 7, 2), (4_000, 1, 9, 3), (600, 3, 300, 4)] {
        let bytes = pixels(n, channels, seed);
        let settings = KMeans { seed, tolerance: 0.0, max_iterations: 0, ..KMeans::new(k) };
        let mut start = Palette::fit(&bytes, channels, &settings).unwrap().palette;
        if seed == 2 {
            // Some centres twice and some far away: clusters without pixels.
            start.centres.copy_within(0..6, 9);
            start.centres[18..].fill(-1.0);
        }
        let grid = |x: f64| (x * Naive::GRID as f64).round() as i64;
        let levels = start.levels();
        let centres = levels.iter().map(|row| row[..channels].iter().map(|&x| grid(x)).collect());
        let mut naive = Naive::assign(&bytes, channels, centres.collect());
        let unit = (Naive::GRID as f64 * LEVELS).powi(2);
        for iterations in 0..12 {
            let settings = KMeans { max_iterations: iterations, ..settings.clone() };
            let fit = start.refit(&bytes, &settings).unwrap();
            let levels: Vec<[f64; 3]> = naive
                .centres
                .iter()
                .map(|row| [0, 1, 2].map(|i| row.get(i).map_or(0.0, |&m| m as f64 / Naive::GRID as f64)))
                .collect();
            assert_eq!(fit.palette, Palette::from_levels(&levels, channels), "{n} {k} {iterations}");
            assert_eq!(fit.inertia, naive.inertia as f64 / unit);
            if !fit.converged {
                assert_eq!(fit.iterations, iterations);
            }
            naive = naive.step(&bytes, channels);
        }
    }
}

#[test]
fn empty_clusters_move_to_the_farthest_colours() {
    // Two centres at 100 tie everywhere, so that the second has no pixels; one at 255 is the nearest to none.
    let bytes = [90, 90, 100, 110, 110, 120, 120, 140];
    let start = Palette::from_levels(&[[100.0, 0.0, 0.0], [100.0, 0.0, 0.0], [255.0, 0.0, 0.0]], 1);
    let fit = start.refit(&bytes, &KMeans { max_iterations: 1, ..KMeans::new(3) }).unwrap();
    let mean = bytes.iter().map(|&x| f64::from(x)).sum::<f64>() / 8.0;
    let levels: Vec<f64> = fit.palette.levels().iter().map(|row| row[0]).collect();
    assert!(
        (levels[0] - mean).abs() < 1e-4
            && (levels[1] - 140.0).abs() < 1e-4
            && (levels[2] - 120.0).abs() < 1e-4
    );
    // From colours that are far from all pixels, every centre ends with some.
    let bytes = pixels(2_000, 3, 9);
    let far = Palette::new(3, vec![1.0; 3 * 50]).unwrap();
    let fit = far.refit(&bytes, &KMeans::new(50)).unwrap();
    let mut tokens = fit.palette.encode(&bytes).unwrap();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 50);
    assert!(fit.history.is_sorted_by(|a, b| a >= b));
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let bytes = pixels(40_000, 3, 5);
    let run = |threads| {
        with_threads(threads, || {
            let fit = Palette::fit(&bytes, 3, &KMeans { max_iterations: 20, ..KMeans::new(200) }).unwrap();
            let tokens = fit.palette.encode(&bytes).unwrap();
            (fit, tokens)
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn inertia_never_rises_and_is_what_encoding_costs() {
    let bytes = pixels(5_000, 3, 6);
    let fit = Palette::fit(&bytes, 3, &KMeans { tolerance: 0.0, ..KMeans::new(40) }).unwrap();
    assert!(fit.converged && fit.iterations > 5 && fit.iterations == fit.history.len());
    let sooner = Palette::fit(&bytes, 3, &KMeans::new(40).tolerance(1e-2)).unwrap();
    assert!(sooner.converged && sooner.iterations < fit.iterations && sooner.inertia > fit.inertia);
    assert!(fit.history.is_sorted_by(|a, b| a >= b) && fit.inertia <= *fit.history.last().unwrap());
    assert_eq!((fit.pixels, fit.distinct > 4_000), (5_000, true));
    let tokens = fit.palette.encode(&bytes).unwrap();
    let again: f64 = bytes
        .chunks_exact(3)
        .zip(&tokens)
        .flat_map(|(pixel, &token)| pixel.iter().zip(fit.palette.colour(token.into())))
        .map(|(&x, &m)| (f64::from(x) / LEVELS - 1.0 - f64::from(m)).powi(2))
        .sum();
    assert!((again / fit.inertia - 1.0).abs() < 1e-6, "{again} {}", fit.inertia);
    // Bytes are rounded colours: at most half a level worse in each channel.
    let mse = fit.palette.mean_squared_error(&bytes).unwrap();
    assert!((mse - fit.inertia * LEVELS * LEVELS / 15_000.0).abs() < 0.2, "{mse}");
    assert_eq!(fit.palette.psnr(&bytes).unwrap(), 10.0 * libm::log10(65_025.0 / mse));
}

#[test]
fn a_good_start_is_worth_having() {
    // Ten tight clouds: greedy k-means++ finds each of them, from almost every seed.
    let mut bytes = Vec::new();
    let mut rng = Rng::keyed(2, "test", [0, 0]);
    for cloud in 0..10u8 {
        for _ in 0..200 {
            bytes.extend(
                [cloud * 25, 255 - cloud * 20, (cloud % 3) * 90]
                    .map(|x| x.saturating_add(rng.below(4) as u8)),
            );
        }
    }
    let good = (0..20).filter(|&seed| {
        Palette::fit(&bytes, 3, &KMeans::new(10).seed(seed))
            .unwrap()
            .palette
            .mean_squared_error(&bytes)
            .unwrap()
            < 2.0
    });
    assert!(good.count() >= 19);
}

#[test]
fn k_from_one_to_all_colours_and_no_more() {
    let bytes = [0, 0, 0, 0, 0, 10, 3, 200, 77, 0, 0, 0];
    let one = Palette::fit(&bytes, 3, &KMeans::new(1)).unwrap();
    assert!(one.converged);
    assert_eq!(one.palette.decode(&[0]).unwrap(), [1, 50, 22]);
    let all = Palette::fit(&bytes, 3, &KMeans::new(3)).unwrap();
    assert_eq!((all.inertia, all.distinct), (0.0, 3));
    assert_eq!(all.palette.decode(&all.palette.encode(&bytes).unwrap()).unwrap(), bytes);
    assert_eq!(all.palette.psnr(&bytes).unwrap(), f64::INFINITY);
    let error = Palette::fit(&bytes, 3, &KMeans::new(4)).unwrap_err().to_string();
    assert!(error.contains("3 different colours, too few for a palette of 4"), "{error}");
    for (bytes, channels, k) in
        [(&[][..], 3, 1), (&[1, 2], 3, 1), (&[1, 2], 2, 1), (&[1], 1, 0), (&[1], 1, 65_537)]
    {
        assert!(Palette::fit(bytes, channels, &KMeans::new(k)).is_err());
    }
    assert!(Palette::fit(&bytes, 3, &KMeans::new(1).tolerance(f64::NAN)).is_err());
    assert!(all.palette.refit(&bytes, &KMeans::new(2)).is_err());
}

#[test]
fn settings_are_data_and_unknown_ones_are_errors() {
    let text = r#"{"colours":64,"seed":3,"max_iterations":300,"tolerance":0.0}"#;
    assert_eq!(serde_json::to_string(&KMeans::new(64).seed(3)).unwrap(), text);
    assert_eq!(serde_json::from_str::<KMeans>(text).unwrap(), KMeans::new(64).seed(3));
    assert!(serde_json::from_str::<KMeans>(&text.replace("seed", "sead")).is_err());
}

/// The token of each pixel by exact comparison with every colour.
fn encode_exactly(palette: &Palette, pixels: &[u8]) -> Vec<u16> {
    let first = |pixel: &[u8]| {
        (1..palette.len()).fold(0, |best, j| {
            match nearest::compare_exactly(pixel, palette.colour(j), palette.colour(best)) {
                std::cmp::Ordering::Less => j,
                _ => best,
            }
        })
    };
    pixels.chunks_exact(palette.channels()).map(|pixel| first(pixel) as u16).collect()
}

#[test]
fn encoding_is_the_exact_argmin() {
    let mut rng = Rng::keyed(8, "test", [0, 0]);
    let mut numbers = |n| (0..n).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect::<Vec<_>>();
    let mut palettes: Vec<Palette> =
        [1, 2, 30, 512].into_iter().map(|k| Palette::new(3, numbers(3 * k)).unwrap()).collect();
    palettes.push(Palette::new(1, numbers(16)).unwrap());
    palettes.push(Palette::fit(&pixels(3_000, 3, 3), 3, &KMeans::new(100)).unwrap().palette);
    // Mirrored colours, which tie for greys; all the same; on bytes, so that bytes between them tie.
    let random = numbers(20);
    let mirrored = random.chunks_exact(2).flat_map(|x| [x[0], x[1], 0.1, 0.1, x[0], x[1], x[1], 0.1, x[0]]);
    palettes.push(Palette::new(3, mirrored.collect()).unwrap());
    palettes.push(Palette::new(3, vec![0.25; 3 * 40]).unwrap());
    let (steps, greys) = ((0..=255).step_by(3), (0..=255u8).flat_map(|x| [x, x, x]).collect::<Vec<_>>());
    palettes.push(Palette::from_levels(&steps.map(|x| [f64::from(x), 0.0, 0.0]).collect::<Vec<_>>(), 1));
    for palette in palettes {
        let bytes = [pixels(800, 3, 11), greys.clone()].concat();
        assert_eq!(
            palette.encode(&bytes).unwrap(),
            encode_exactly(&palette, &bytes),
            "{} colours",
            palette.len()
        );
    }
}

#[test]
fn ties_go_to_the_first() {
    let palette = Palette::new(1, vec![0.5, -1.0, 1.0, 0.5, -1.0]).unwrap();
    assert_eq!(palette.encode(&[0, 255, 191]).unwrap(), [1, 2, 0]);
    // Byte 0 is -1, and 255 is 1: 0 lies between them, and no byte does; but mirrored colours tie for greys.
    let palette = Palette::new(3, vec![0.3, 0.1, -0.7, -0.7, 0.3, 0.1, 0.1, -0.7, 0.3]).unwrap();
    assert_eq!(palette.encode(&[100, 100, 100, 101, 100, 100, 100, 101, 100]).unwrap(), [0, 0, 1]);
}

#[test]
fn tokens_fill_sixteen_bits() {
    // 65,536 colours of 2²⁴: every fourth red, eighth green and eighth blue level.
    let levels: Vec<[f64; 3]> =
        (0..1 << 16).map(|i| [(i >> 10) * 4, (i >> 5 & 31) * 8, (i & 31) * 8].map(f64::from)).collect();
    let palette = Palette::from_levels(&levels, 3);
    let bytes: Vec<u8> = levels.iter().flatten().map(|&level| level as u8).collect();
    let tokens = palette.encode(&bytes).unwrap();
    assert_eq!(tokens, (0..=u16::MAX).collect::<Vec<_>>());
    assert_eq!(palette.decode(&tokens).unwrap(), bytes);
    assert!(palette.to_text().contains("of 65536 colours (1024 colours)"));
    let some = pixels(60, 3, 1);
    assert_eq!(palette.encode(&some).unwrap(), encode_exactly(&palette, &some));
}

#[test]
fn what_is_no_palette_no_pixel_or_no_token_is_refused() {
    for centres in
        [vec![], vec![0.0; 4], vec![f32::NAN; 3], vec![0.0, f32::INFINITY, 0.0], vec![0.0, 1.5, 0.0]]
    {
        assert!(Palette::new(3, centres).is_err());
    }
    assert!(Palette::new(3, vec![0.0; 3 * 65_537]).is_err() && Palette::new(2, vec![0.0; 4]).is_err());
    let palette = Palette::new(3, vec![-1.000_000_1, 1.000_000_1, 0.0]).unwrap();
    assert_eq!(palette.decode(&[0]).unwrap(), [0, 255, 128]);
    assert!(palette.encode(&[]).unwrap().is_empty());
    assert!(palette.encode(&[1, 2, 3, 4]).is_err() && palette.decode(&[0, 1]).is_err());
    assert!(palette.psnr(&[]).is_err() && mean_squared_error(&[1], &[1, 2]).is_err());
    assert_eq!(mean_squared_error(&[1, 4], &[1, 2]).unwrap(), 2.0);
    assert!((psnr(&[0], &[255]).unwrap()).abs() < 1e-12);
}

#[test]
fn a_palette_shows_its_colours() {
    let palette = Palette::new(3, vec![-1.0, -1.0, -1.0, 1.0, -1.0, -1.0]).unwrap();
    assert_eq!(palette.to_text(), "2 colours: #000000 #ff0000\n");
    assert!(palette.to_html().contains("<img "));
    assert_eq!(Palette::new(1, vec![1.0]).unwrap().to_text(), "1 colour: #ffffff\n");
}

/// `tests/fixtures/palette/make.py` made these.
#[test]
fn equals_scikit_learn_from_the_same_start() {
    #[derive(serde::Deserialize)]
    struct Case {
        channels: usize,
        max_iterations: usize,
        pixels: Vec<u8>,
        start: Vec<f32>,
        centres: Vec<f64>,
        labels: Vec<u16>,
        inertia: f64,
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/palette/lloyd.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let start = Palette::new(case.channels, case.start).unwrap();
        let settings =
            KMeans { tolerance: 0.0, max_iterations: case.max_iterations, ..KMeans::new(start.len()) };
        let fit = start.refit(&case.pixels, &settings).unwrap();
        for (ours, theirs) in fit.palette.centres().iter().zip(&case.centres) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-5, "{ours} {theirs}");
        }
        assert_eq!(fit.palette.encode(&case.pixels).unwrap(), case.labels);
        assert!((fit.inertia / case.inertia - 1.0).abs() < 1e-6, "{} {}", fit.inertia, case.inertia);
    }
}

/// The folder of reference files that are not ours to publish; `None`, and its reason printed, where it is absent.
fn reference() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let folder = std::env::var_os("IGPT_REFERENCE").map_or(beside, PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: {} is absent (IGPT_REFERENCE names another place)", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn openais_palette_gives_the_tokens_of_hugging_faces_processor() {
    let Some(folder) = reference() else { return };
    let palette = Palette::read_npy(folder.join("kmeans_centers.npy")).unwrap();
    assert_eq!((palette.len(), palette.channels()), (512, 3));
    assert_eq!(Palette::read_preprocessor_config(folder.join("preprocessor_config.json")).unwrap(), palette);
    let file = std::fs::read(folder.join("cats_32_rgb.npy")).unwrap();
    let cats = &file[file.len() - 32 * 32 * 3..];
    let ids = std::fs::read(folder.join("cats_hf_input_ids.json")).unwrap();
    let ids: serde_json::Value = serde_json::from_slice(&ids).unwrap();
    let ids: Vec<u16> = serde_json::from_value(ids["ids"].clone()).unwrap();
    assert_eq!(ids.len(), 1024);
    assert_eq!(palette.encode(cats).unwrap(), ids);
    assert_eq!(palette.encode(cats).unwrap(), encode_exactly(&palette, cats));
}
