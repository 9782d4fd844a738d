//! How a network is loaded, and what transformers cannot do with it.

use super::facts::Facts;
use crate::model::Config;

/// What transformers cannot do with the network, and what to do instead: sentences without a full stop.
pub(super) fn limits(facts: &Facts<'_>) -> Vec<String> {
    let mut limits = Vec::new();
    if !facts.is_causal() {
        limits.push(
            "transformers loads this network, but computes something else with it: there a token sees only those before it, and \
             this one was trained, by BERT's objective, to see all. igpt computes it as it was trained"
                .to_owned(),
        );
    }
    if let Some(why) = facts.checkpoint.without_processor() {
        limits.push(format!(
            "transformers loads this network, but its image processor cannot make tokens for it: {why}. The palette is in \
             `kmeans_centers.npy`, which NumPy reads, and igpt by itself"
        ));
    }
    limits
}

/// Whether the root of a head's width is no whole number. Attention divides by it, and transformers took one up to some version
/// after 4.46: its `torch_float(x)` returned `int(x)`. That of 5.24 does not.
fn has_odd_heads(facts: &Facts<'_>) -> bool {
    let Config { width, heads, .. } = facts.checkpoint.config();
    let head = width / heads;
    head.isqrt().pow(2) != head
}

/// Code that uses it.
pub(super) fn usage(facts: &Facts<'_>) -> String {
    let rust = format!(
        "### In a notebook of igpt\n\nWith the path of this folder in place of `FOLDER`:\n\n```rust\n{}\n```",
        cell(facts)
    );
    if !facts.is_causal() {
        return rust;
    }
    let Config { context, vocabulary, .. } = facts.checkpoint.config();
    let (palette, side) = (facts.palette().0, facts.step.data.side);
    let channels = palette.map_or(0, |palette| palette.channels());
    let (import, colours, tokens) = match facts.checkpoint.without_processor() {
        None => (
            ", ImageGPTImageProcessor",
            "processor = ImageGPTImageProcessor.from_pretrained(folder)\ncolours = np.array(processor.clusters)".to_owned(),
            "# Tokens of a list of pictures (PIL), which the processor makes as large as the network's images.\ntokens = \
             processor(pictures, return_tensors=\"pt\")[\"input_ids\"]"
                .to_owned(),
        ),
        Some(_) => (
            "",
            "colours = np.load(f\"{folder}/kmeans_centers.npy\")".to_owned(),
            format!(
                "# Tokens of pictures, an array of bytes (N, {side}, {side}, {channels}): each pixel's nearest colour.\npixels = \
                 pictures.reshape(len(pictures), {context}, 1, {channels}) / 127.5 - 1\ntokens = torch.from_numpy(((pixels - \
                 colours) ** 2).sum(-1).argmin(-1))"
            ),
        ),
    };
    let mend = match has_odd_heads(facts) {
        true => {
            "\n\n# Older versions (4.46; not 5.24) divide attention's scores by a whole number: this mends them, and harms no other.\nfrom \
                 transformers.models.imagegpt import modeling_imagegpt\nmodeling_imagegpt.torch_float = float"
        }
        false => "",
    };
    format!(
        "### In transformers\n\nIts `forward` puts no SOS token before an image, and the network was trained with one: it is token \
         {vocabulary}, the last row of the embedding, and goes in front by hand.\n\n```python\nimport numpy as np\nimport \
         torch\nfrom transformers import ImageGPTForCausalImageModeling{import}{mend}\n\nfolder = \".\"  # the path of this folder\nmodel \
         = ImageGPTForCausalImageModeling.from_pretrained(folder).eval()\n{colours}  # ({vocabulary}, {channels}), on the scale \
         from -1 to 1\nsos = model.config.vocab_size - 1\n\n# Images that it draws.\nstart = torch.full((4, 1), sos)\nlast = \
         model.config.n_positions + 1\ndrawn = model.generate(start, max_length=last, do_sample=True, top_k=0)[:, 1:]\nimages = \
         np.rint(127.5 * (colours[drawn.numpy()] + 1)).astype(np.uint8).reshape(4, {side}, {side}, {channels})\n\n{tokens}\n\n# \
         Their loss, in nats per token.\ninputs = torch.cat([torch.full((len(tokens), 1), sos), tokens[:, :-1]], dim=1)\nwith \
         torch.no_grad():\n    logits = model(inputs).logits  # (N, {context}, {vocabulary})\nloss = \
         torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())\n```\n\n{rust}"
    )
}

/// A cell that loads the network, describes an image by its features, and draws images, or fills in the lower half of that one.
fn cell(facts: &Facts<'_>) -> String {
    let data = &facts.step.data;
    // Where a folder of somebody's lies is nobody's business.
    let set = if data.set.starts_with("folder:") { "folder:PATH" } else { &data.set };
    let (view, shape, then) = match facts.is_causal() {
        true => (
            "Causal",
            "(4, T)",
            "let drawn = sample(network.as_mut(), &checkpoint.parameters, &[], 4, 0, &Sampling::default())?;",
        ),
        false => (
            "Bidirectional(None)",
            "(1, T)",
            "let lower: Vec<bool> = (0..tokens.len()).map(|at| at >= tokens.len() / 2).collect();\n\
             let drawn = infill(network.as_mut(), &checkpoint.parameters, &tokens, &lower, 8, 0, &Sampling::default())?;",
        ),
    };
    format!(
        "let checkpoint = huggingface::Checkpoint::read(\"FOLDER\".as_ref())?;
let mut network = Workspace::current()?.network(checkpoint.config())?;
let image = Data::of({set:?}, {side}).images(Split::Test)?.get(0)?;
let tokens = checkpoint.tokens([&image])?; // (1, T)
let features = network.features(&checkpoint.parameters, &tokens, igpt::model::View::{view})?; // (1, L + 1, C)
{then} // {shape}
ImageGrid::new().row(\"drawn\", &checkpoint.images(&drawn)?)",
        side = data.side
    )
}
