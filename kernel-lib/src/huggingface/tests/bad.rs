//! Checkpoints that are damaged, or of other networks: each is refused with its reason.

use super::*;

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let missing = edited(|tensors| {
        tensors.remove("transformer.wpe.weight");
        tensors.remove("transformer.h.1.mlp.c_fc.bias");
    });
    let said = "model.safetensors: not the tensors of the network in config.json. \
                missing: transformer.wpe.weight, transformer.h.1.mlp.c_fc.bias";
    says(&refused(missing.path()), &[said]);

    let unexpected = edited(|tensors| {
        let norm = tensors["transformer.h.0.ln_1.weight"].clone();
        tensors.insert("transformer.h.0.ln_1.bias".to_owned(), norm.clone());
        // The mask of a block that there is not is no buffer of this network.
        tensors.insert("transformer.h.2.attn.bias".to_owned(), norm);
    });
    says(
        &refused(unexpected.path()),
        &["json. unexpected: transformer.h.0.ln_1.bias, transformer.h.2.attn.bias"],
    );

    let shapes = edited(|tensors| {
        // Transposed, as a torch.nn.Linear would have it.
        tensors.get_mut("transformer.h.0.mlp.c_fc.weight").unwrap().1.reverse();
        let (_, shape, bytes) = tensors.get_mut("transformer.wte.weight").unwrap();
        shape[0] -= 1;
        bytes.truncate(10 * 16 * 4);
        let integers = tensors.get_mut("transformer.ln_f.weight").unwrap();
        integers.0 = Dtype::I32;
    });
    let said = [
        "transformer.wte.weight has the shape [10, 16] and not [11, 16]",
        "transformer.h.0.mlp.c_fc.weight has the shape [64, 16] and not [16, 64]",
        "transformer.ln_f.weight does not hold floats",
    ];
    says(&refused(shapes.path()), &said);

    // The body alone, without the head: its names have no `transformer.`.
    let body = edited(|tensors| {
        let names: Vec<String> = tensors.keys().cloned().collect();
        for name in names {
            let tensor = tensors.remove(&name).unwrap();
            tensors.insert(name.replace("transformer.", ""), tensor);
        }
    });
    says(&refused(body.path()), &["missing: transformer.wte.weight, ", "and 17 more; unexpected: h.0.attn"]);
}

#[test]
fn known_buffers_are_no_parameters() {
    let buffers = edited(|tensors| {
        for l in 0..2 {
            let mask = (Dtype::U8, vec![1, 1, 16, 16], vec![1; 256]);
            tensors.insert(format!("transformer.h.{l}.attn.bias"), mask);
            let number = (Dtype::F32, vec![], (-1e4f32).to_le_bytes().to_vec());
            tensors.insert(format!("transformer.h.{l}.attn.masked_bias"), number);
        }
    });
    assert_eq!(Checkpoint::read(buffers.path()).unwrap(), Checkpoint::read(&fixture("square")).unwrap());
}

#[test]
fn a_network_with_biases_is_refused_by_an_error_of_its_own() {
    let biased = edited(|tensors| {
        let bias = &mut tensors.get_mut("transformer.h.1.attn.c_proj.bias").unwrap().2;
        bias[4..8].copy_from_slice(&(-0.5f32).to_le_bytes());
        bias[8..12].copy_from_slice(&0.25f32.to_le_bytes());
    });
    let error = Checkpoint::read(biased.path()).unwrap_err();
    says(
        &error.to_string(),
        &["h.1.attn.c_proj.bias is not zero (its largest value is -0.5)", "have no biases"],
    );
    let Error::Bias { path, tensor, largest } = error else { panic!("{error:?}") };
    assert_eq!(path, biased.path().join("model.safetensors"));
    assert_eq!((tensor.as_str(), largest), ("transformer.h.1.attn.c_proj.bias", -0.5));

    let nan = edited(|tensors| {
        tensors.get_mut("transformer.h.0.mlp.c_proj.bias").unwrap().2[..4]
            .copy_from_slice(&f32::NAN.to_le_bytes());
    });
    says(&refused(nan.path()), &["h.0.mlp.c_proj.bias is not zero (its largest value is NaN)"]);
    // Zero has two signs.
    let negative = edited(|tensors| {
        let bias = &mut tensors.get_mut("transformer.h.0.mlp.c_proj.bias").unwrap().2;
        bias[..4].copy_from_slice(&(-0.0f32).to_le_bytes());
    });
    Checkpoint::read(negative.path()).unwrap();
}

#[test]
fn a_configuration_of_another_network_is_refused() {
    let folder = with("square", "model.safetensors", "model.safetensors");
    let path = folder.path().join("config.json");
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, said) in [
        ("\"quick_gelu\"", "\"gelu\"", "config.json: activation_function is \"gelu\""),
        ("\"n_layer\": 2", "\"n_layer\": 1", "unexpected: transformer.h.1."),
        ("\"n_layer\": 2", "\"n_layer\": 1000000", "24 tensors, but config.json says 1000000 layers"),
        ("\"n_inner\": null", "\"n_inner\": 60", "c_fc.weight has the shape [16, 64] and not [16, 60]"),
        ("\"vocab_size\": 11", "\"vocab_size\": 12", "wte.weight has the shape [11, 16] and not [12, 16]"),
        ("\"n_positions\": 16", "\"n_positions\": 1048576", "wpe.weight has the shape [16, 16]"),
    ] {
        assert!(good.contains(from), "{good}");
        fs::write(&path, good.replace(from, to)).unwrap();
        says(&refused(folder.path()), &[said]);
    }
    fs::remove_file(&path).unwrap();
    says(&refused(folder.path()), &["config.json: ", "No such file"]);
}

#[test]
fn a_palette_of_another_network_is_refused() {
    let folder = with("square", "model.safetensors", "model.safetensors");
    let path = folder.path().join("preprocessor_config.json");
    colours(10).write_preprocessor_config(&path, 4).unwrap();
    assert_eq!(Checkpoint::read(folder.path()).unwrap().palette, Some(colours(10)));
    colours(11).write_preprocessor_config(&path, 4).unwrap();
    says(
        &refused(folder.path()),
        &["preprocessor_config.json: a palette of 11 colours beside a network of 10"],
    );
}

#[test]
fn folders_without_weights_say_what_is_wanted() {
    let folder = with("square", "model.safetensors", "model.safetensors");
    let path = folder.path().join("model.safetensors");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n").unwrap();
    says(&refused(folder.path()), &["model.safetensors: a pointer of Git LFS", "git lfs pull"]);
    fs::write(&path, "").unwrap();
    says(&refused(folder.path()), &["not a safetensors file, or cut short"]);
    fs::remove_file(&path).unwrap();
    says(&refused(folder.path()), &["no weights in it", "model.safetensors.index.json, pytorch_model.bin"]);
}

#[test]
fn shards_and_their_index_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture("odd")).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let path = folder.path().join("model.safetensors.index.json");
    let good = fs::read_to_string(&path).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&good).unwrap();
    let map = index["weight_map"].as_object_mut().unwrap();
    let (first, last) = (map["transformer.wte.weight"].clone(), map["lm_head.weight"].clone());
    assert_ne!(first, last);

    let swapped = good.replace(
        &format!("\"transformer.wte.weight\": {first}"),
        &format!("\"transformer.wte.weight\": {last}"),
    );
    assert_ne!(swapped, good);
    let in_first =
        format!("{}: it holds transformer.wte.weight, which is not in it", first.as_str().unwrap());
    fs::write(&path, swapped).unwrap();
    says(&refused(folder.path()), &[&in_first]);

    let more = good.replace("\"weight_map\": {", &format!("\"weight_map\": {{ \"more\": {first},"));
    fs::write(&path, more).unwrap();
    says(
        &refused(folder.path()),
        &["model.safetensors.index.json: more should be in model-", ", but is not"],
    );

    map.remove("transformer.wte.weight");
    fs::write(&path, index.to_string()).unwrap();
    says(&refused(folder.path()), &[&in_first]);

    fs::write(&path, good.replace("model-00001", "../model-00001")).unwrap();
    says(&refused(folder.path()), &["\"../model-00001", "is not the name of a file beside it"]);
    fs::write(&path, "{}").unwrap();
    says(&refused(folder.path()), &["not the index of a checkpoint in shards: missing field `weight_map`"]);

    fs::write(&path, &good).unwrap();
    Checkpoint::read(folder.path()).unwrap();
    fs::remove_file(folder.path().join(first.as_str().unwrap())).unwrap();
    says(&refused(folder.path()), &[first.as_str().unwrap(), "No such file"]);
}

#[test]
fn the_legacy_form_of_torch_is_refused_with_its_cure() {
    let folder = with("square", "legacy.bin", "pytorch_model.bin");
    let error = refused(folder.path());
    says(
        &error,
        &["pytorch_model.bin: in the form that PyTorch wrote before version 1.6", "torch.save(torch.load("],
    );
    says(&torch::tensors(b"\x80\x02}.").unwrap_err(), &["not a file of torch.save, which is a zip archive"]);
}

#[test]
fn archives_cut_anywhere_are_refused() {
    let file = fs::read(fixture("odd").join("pytorch_model.bin")).unwrap();
    torch::tensors(&file).unwrap();
    assert!((0..file.len()).all(|end| torch::tensors(&file[..end]).is_err()));
    says(
        &torch::tensors(&file[..file.len() - 1]).unwrap_err(),
        &["a zip archive without its end: cut short"],
    );
    let file = fs::read(fixture("square").join("model.safetensors")).unwrap();
    assert!((0..file.len()).all(|end| safetensors::tensors(&file[..end]).is_err()));
    says(&safetensors::tensors(&file[..file.len() - 1]).unwrap_err(), &["the file is cut short or damaged"]);
}

/// The places of all records of the directory of a zip archive, and the name of each.
fn records(file: &[u8]) -> Vec<(usize, String)> {
    let at = (0..file.len() - 46).filter(|at| file[*at..].starts_with(b"PK\x01\x02"));
    at.map(|at| {
        let length = usize::from(u16::from_le_bytes([file[at + 28], file[at + 29]]));
        (at, String::from_utf8(file[at + 46..][..length].to_vec()).unwrap())
    })
    .collect()
}

#[test]
fn archives_that_torch_does_not_write_are_refused() {
    let good = fs::read(fixture("odd").join("pytorch_model.bin")).unwrap();
    let records = records(&good);
    let find = |end: &str| records.iter().find(|(_, name)| name.ends_with(end)).unwrap().0;
    let (pickle, zero, one) = (find("/data.pkl"), find("/data/0"), find("/data/1"));
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut file = good.clone();
        edit(&mut file);
        torch::tensors(&file).unwrap_err()
    };
    let offset = |file: &[u8], record: usize| {
        u32::from_le_bytes(file[record + 42..][..4].try_into().unwrap()) as usize
    };
    says(&edited(&|file| file[zero + 10] = 8), &["/data/0\" is compressed (method 8)", "torch.save"]);
    says(&edited(&|file| file[zero + 8] |= 1), &["/data/0\" is encrypted"]);
    says(&edited(&|file| file[zero + 20] ^= 1), &["is stored, but of "]);
    says(
        &edited(&|file| file.copy_within(zero + 42..zero + 46, one + 42)),
        &["is not where its directory says"],
    );
    says(&edited(&|file| file[zero] = 0), &["its directory is damaged"]);
    // A number of a weight.
    says(
        &edited(&|file| {
            let end = offset(file, one) - 200;
            file[end] ^= 1;
        }),
        &["has another checksum"],
    );
    // A size that is too large reaches into the next entry.
    says(
        &edited(&|file| {
            for at in [20, 24] {
                let size = u32::from_le_bytes(file[zero + at..][..4].try_into().unwrap()) + 4096;
                file[zero + at..][..4].copy_from_slice(&size.to_le_bytes());
            }
        }),
        &["its entries overlap"],
    );
    // The same name twice: length and header of both must agree.
    says(
        &edited(&|file| {
            let last = file[one + 46..].iter().position(|byte| *byte == b'1').unwrap();
            let header = offset(file, one);
            file[one + 46 + last] = b'0';
            let name = file[header + 30..].iter().position(|byte| *byte == b'1').unwrap();
            file[header + 30 + name] = b'0';
        }),
        &["/data/0\" is there twice"],
    );
    // No pickle, by renaming it.
    says(
        &edited(&|file| {
            let length = records.iter().find(|(at, _)| *at == pickle).unwrap().1.len();
            let header = offset(file, pickle);
            file[pickle + 46 + length - 1] = b'x';
            file[header + 30 + length - 1] = b'x';
        }),
        &["it should have one entry …/data.pkl"],
    );
    // More entries announced than there are, in both ends.
    says(
        &edited(&|file| {
            let (end, long) = (file.len() - 22, file.len() - 22 - 20 - 56);
            file[end + 10] += 1;
            if file[long..].starts_with(b"PK\x06\x06") {
                file[long + 32] += 1;
            }
        }),
        &["its directory has ", " entries and not "],
    );
}

#[test]
fn damaged_headers_of_safetensors_are_refused() {
    let file = |header: &str, data: usize| {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    };
    let of = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    safetensors::tensors(&file(&of("[2]", "[0,8]"), 8)).unwrap();
    for (file, said) in [
        (file("{", 0), "its header is no JSON object"),
        (file("[]", 0), "its header is no JSON object"),
        (file(&of("[2]", "[0,8]"), 7), "a: it lies at 0..8 of 7 bytes"),
        (file(&of("[2]", "[0,8]"), 9), "overlap, leave holes, or end before the file"),
        (file(&of("[2]", "[4,12]"), 12), "overlap, leave holes"),
        (file(&of("[2]", "[8,0]"), 8), "a: it lies at 8..0"),
        (file(&of("[2]", "[0,4]"), 4), "4 bytes are not F32 of shape [2]"),
        (file(&of("[4611686018427387904,4]", "[0,0]"), 0), "0 bytes are not"),
        (file(&of("[-1]", "[0,0]"), 0), "a: invalid value"),
        (file(&of("[2]", "[0,8]").replace("F32", "F8_E4M3"), 8), "type F8_E4M3 are not known here"),
        (file(r#"{"a":1}"#, 0), "a: invalid type"),
        ([255; 8].to_vec(), "it ends in its header"),
        ([&[255, 255, 255, 255, 255, 255, 255, 127][..], b"{}"].concat(), "it ends in its header"),
    ] {
        says(&safetensors::tensors(&file).unwrap_err(), &[said]);
    }
    // Two tensors at one place.
    let twice = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    says(&safetensors::tensors(&file(twice, 8)).unwrap_err(), &["its tensors overlap"]);
}
