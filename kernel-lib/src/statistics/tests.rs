use super::*;

#[test]
fn the_variances_of_images_and_of_seeds_are_added() {
    // By hand. Seed 1: differences 1, 0, 1, 0; seed 2: 1, 1, 1, 0 (of correctness).
    let (a_1, a_2) = ([true, true, true, false], [true, true, true, true]);
    let (b_1, b_2) = ([false, true, false, false], [false, false, false, true]);
    let effect = Effect::paired(&[&a_1, &a_2], &[&b_1, &b_2]).unwrap();
    // Averages by image 100, 50, 100, 0: mean 62.5, squared deviations 1406.25 · 2 + 156.25 + 3906.25 = 6875.
    let of_images = 6875.0 / 3.0 / 4.0;
    // Means by seed 50 and 75: squared deviations 2 · 156.25.
    let of_seeds = 312.5 / 2.0;
    assert!((effect.mean - 62.5).abs() < 1e-12);
    let error = effect.standard_error.unwrap();
    assert!((error * error - (of_images + of_seeds)).abs() < 1e-9, "{error}");
    let degrees = (of_images + of_seeds).powi(2) / (of_images.powi(2) / 3.0 + of_seeds.powi(2));
    assert!((effect.degrees - degrees).abs() < 1e-9);
    assert_eq!((effect.seeds, effect.images), (2, 4));
    // One side without seeds is compared with each of the other's.
    let broadcast = Effect::paired(&[&a_1, &a_2], &[&b_1]).unwrap();
    assert_eq!(broadcast, Effect::paired(&[&a_1, &a_2], &[&b_1, &b_1]).unwrap());
    // One seed: the images' error alone.
    let one = Effect::paired(&[&a_1], &[&b_1]).unwrap();
    assert_eq!((one.mean, one.degrees, one.seeds), (50.0, 3.0, 1));
    // The same on both sides: no difference, for certain.
    let same = Effect::paired(&[&a_1], &[&a_1]).unwrap();
    assert_eq!(same.interval(), Some((0.0, 0.0)));
    assert!(Effect::paired(&[&a_1], &[&b_1[..3]]).is_err() && Effect::paired(&[], &[&a_1]).is_err());
    assert!(Effect::paired(&[&a_1, &a_1, &a_1], &[&b_1, &b_2]).is_err());
    assert!(Effect::paired(&[&[]], &[&[]]).is_err());
}

#[test]
fn means_of_seeds_have_students_interval() {
    let effect = Effect::of_seeds(&[1.0, 2.0, 4.0]).unwrap();
    let (low, high) = effect.interval().unwrap();
    // scipy.stats.t.interval(0.95, 2, 7 / 3, scipy.stats.sem([1, 2, 4])), scipy 1.17.1
    assert!(
        (low + 1.461_249_700_263).abs() < 1e-9 && (high - 6.127_916_366_930).abs() < 1e-9,
        "{low} {high}"
    );
    let one = Effect::of_seeds(&[3.0]).unwrap();
    assert_eq!((one.standard_error, one.interval()), (None, None));
    assert!(Effect::of_seeds(&[]).is_err());
    let turned = effect.times(-2.0).interval().unwrap();
    assert!((turned.0 + 2.0 * high).abs() < 1e-12 && (turned.1 + 2.0 * low).abs() < 1e-12);
    assert_eq!(Effect::of_images(&[1.0, 2.0]).unwrap().images, 2);
}

#[test]
fn ranks_are_scipys() {
    // scipy.stats.spearmanr, scipy 1.17.1
    let pairs = |a: &[f64], b: &[f64]| a.iter().copied().zip(b.iter().copied()).collect::<Vec<_>>();
    let six = RankCorrelation::of(&pairs(&[1., 2., 3., 4., 5., 6.], &[2., 1., 4., 3., 6., 5.])).unwrap();
    assert!((six.correlation - 0.828_571_428_571_428_7).abs() < 1e-12);
    let ties = RankCorrelation::of(&pairs(&[1., 2., 2., 4., 5.], &[1., 3., 2., 2., 9.])).unwrap();
    assert!((ties.correlation - 0.763_157_894_736_842_1).abs() < 1e-12);
    assert!(RankCorrelation::of(&[(1.0, 2.0), (2.0, 2.0)]).is_err());
    assert!(RankCorrelation::of(&[(1.0, f64::NAN), (2.0, 2.0)]).is_err());
    assert!(RankCorrelation::of(&[]).is_err());
    assert_eq!(RankCorrelation::of(&pairs(&[1., 2., 3., 4.], &[1., 2., 3., 4.])).unwrap().interval(), None);
    let perfect: Vec<(f64, f64)> = (0..9).map(|i| (f64::from(i), -f64::from(i))).collect();
    let (low, high) = RankCorrelation::of(&perfect).unwrap().interval().unwrap();
    assert!(low < -0.99 && high < -0.8, "{low} {high}");
}
