//! Contrastive pre-training, on tiny networks.

use super::{on, probe, small};
use crate::augment::Augmentation;
use crate::contrast::{Contrast, Training};
use crate::experiment::*;

#[test]
fn contrastive_networks_are_trained_kept_and_probed() {
    let folder = tempfile::tempdir().unwrap();
    let on = on(folder.path());
    let ar = Pretraining::of(&small(8));
    for contrast in
        [Contrast::SimClr { temperature: 0.2, projection: 8 }, Contrast::Cpc { ahead: 3, projection: 8 }]
    {
        let step = Contrastive::like(&ar, contrast, 3);
        let trained = step.run_on(&on).unwrap();
        assert_eq!(trained.curve.training.len(), 3);
        assert_ne!(trained.parameters, ar.untrained().unwrap());
        assert_eq!(step.run_on(&on).unwrap(), trained);
        let curve = probe(Features::contrastive(&step)).run_on(&on).unwrap();
        assert_eq!(curve.layers.len(), 3);
        let other = Contrastive { training: Training { seed: 5, ..step.training }, ..step.clone() };
        assert_ne!(other.run_on(&on).unwrap().parameters, trained.parameters);
        let error = FineTuning { from: Features::contrastive(&step).of, ..FineTuning::of(&ar) }.validate();
        assert!(error.unwrap_err().to_string().contains("no loss of tokens"));
    }
    let mut same = Contrastive::like(&ar, Contrast::SimClr { temperature: 0.2, projection: 8 }, 3);
    same.data.augmentation = Augmentation::None;
    assert!(same.validate().unwrap_err().to_string().contains("random views"));
}
