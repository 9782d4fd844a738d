//! Checkpoints that are damaged, or of other networks: each is refused with its reason.

use super::*;
use crate::Error;

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

    // The same name for the same file, and for another one first.
    for owner in [&first, &last] {
        let entry = format!("\"weight_map\": {{ \"transformer.wte.weight\": {owner},");
        fs::write(&path, good.replace("\"weight_map\": {", &entry)).unwrap();
        says(&refused(folder.path()), &["\"transformer.wte.weight\" is there twice"]);
    }

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
        (file(&of("[2]", "[0,8]"), 9), "behind a are 1 bytes that are no tensor's"),
        (file(&of("[2]", "[4,12]"), 12), "between the header and a are 4 bytes that are no tensor's"),
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
    // A hole between two, and two tensors at one place.
    let hole = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    says(&safetensors::tensors(&file(hole, 12)).unwrap_err(), &["between a and b are 4 bytes"]);
    safetensors::tensors(&file(&hole.replace("[8,12]", "[4,8]"), 8)).unwrap();
    let twice = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    says(&safetensors::tensors(&file(twice, 8)).unwrap_err(), &["a and b share their numbers"]);
}

#[test]
fn a_header_of_safetensors_with_a_name_twice_is_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let file = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
    assert_eq!(safetensors::tensors(&file(header)).unwrap().len(), 2);
    let twice = header.replace("\"b\"", "\"a\"");
    says(&safetensors::tensors(&file(&twice)).unwrap_err(), &["\"a\" is there twice"]);
    // The first one has no numbers, so that nothing overlaps.
    let hidden =
        header.replace("\"b\"", "\"a\"").replace("[1],\"data_offsets\":[0,4]", "[0],\"data_offsets\":[0,0]");
    says(&safetensors::tensors(&file(&hidden)).unwrap_err(), &["\"a\" is there twice"]);
    let inside = header.replace("\"shape\":[1]", "\"shape\":[1],\"shape\":[1]");
    says(&safetensors::tensors(&file(&inside)).unwrap_err(), &["\"shape\" is there twice"]);
    // What others write beside the tensors.
    let metadata = header.replacen('{', "{\"__metadata__\":{\"format\":\"pt\"},", 1);
    assert_eq!(safetensors::tensors(&file(&metadata)).unwrap().len(), 2);
}

#[test]
fn a_header_of_safetensors_that_is_too_long_is_refused() {
    let file = |length: usize| {
        // Zeros take no memory until they are read.
        let mut file = vec![0; 8 + length];
        file[..8].copy_from_slice(&(length as u64).to_le_bytes());
        file
    };
    says(
        &safetensors::tensors(&file(100_000_001)).unwrap_err(),
        &["its header has 100000001 bytes, and the format allows 100000000"],
    );
    says(&safetensors::tensors(&file(100_000_000)).unwrap_err(), &["its header is no JSON object"]);
}

#[test]
fn a_number_too_large_for_f32_is_named() {
    let with = |name: &str, at: usize, number: f64| {
        edited(|tensors| {
            let (dtype, _, bytes) = tensors.get_mut(name).unwrap();
            let narrow: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            let mut wide: Vec<f64> = narrow.into_iter().map(f64::from).collect();
            wide[at] = number;
            (*dtype, *bytes) = (Dtype::F64, wide.iter().flat_map(|x| x.to_le_bytes()).collect());
        })
    };
    let large = with("transformer.wpe.weight", 2 * 16 + 5, 1e300);
    let said = "model.safetensors: transformer.wpe.weight: its number at [2, 5] is 1e300, which is too large for the f32";
    says(&refused(large.path()), &[said]);
    let bias = with("transformer.h.0.mlp.c_fc.bias", 3, -1e39);
    says(&refused(bias.path()), &["transformer.h.0.mlp.c_fc.bias: its number at [3] is -1e39"]);

    let fits = with("transformer.wpe.weight", 2 * 16 + 5, 3e38);
    let read = Checkpoint::read(fits.path()).unwrap().parameters;
    assert_eq!(read.get("wpe").unwrap()[2 * 16 + 5], 3e38);
    // What is not finite is read as it is; the network says which parameter it is.
    let infinite = with("transformer.wpe.weight", 2 * 16 + 5, f64::INFINITY);
    let read = Checkpoint::read(infinite.path()).unwrap().parameters;
    let mut engine = crate::engine::Engine::new(read.config()).unwrap();
    let batch = crate::model::Batch::autoregressive(&[0; 16]);
    let error = crate::model::Network::loss(&mut engine, &read, &batch).unwrap_err().to_string();
    says(&error, &["the network's parameter wpe is inf at 37"]);
}

/// A zip archive of these entries as torch.save writes one.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let size = bytes.len() as u32;
        // From the flags on, both records say the same.
        let mut fields = [0; 22];
        fields[8..12].copy_from_slice(&crc.sum().to_le_bytes());
        fields[12..16].copy_from_slice(&size.to_le_bytes());
        fields[16..20].copy_from_slice(&size.to_le_bytes());
        fields[20..].copy_from_slice(&(name.len() as u16).to_le_bytes());
        let offset = file.len() as u32;
        file.extend([&b"PK\x03\x04\0\0"[..], &fields, &[0; 2], name.as_bytes(), bytes].concat());
        let before = [&b"PK\x01\x02\0\0\0\0"[..], &fields, &[0; 12], &offset.to_le_bytes()].concat();
        directory.extend([&before, name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (size, start) = ((directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes());
    [file, directory, [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &start, &[0; 2]].concat()].concat()
}

/// Tensors of 3 floats, each with its name, the storage, where it begins there, and the metadata of `_rebuild_tensor_v2`, as
/// torch.save writes them. Storages have 6 floats.
fn saved(tensors: &[(&str, &str, u8, &[u8])]) -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let mut pickle = b"\x80\x02}(".to_vec();
    for (name, storage, offset, metadata) in tensors {
        pickle.extend(
            [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(), text("storage")].concat(),
        );
        pickle.extend([b"ctorch\nFloatStorage\n".to_vec(), text(storage), text("cpu")].concat());
        pickle.extend(
            [&b"K\x06tQK"[..], &[*offset], b"K\x03\x85K\x01\x85\x89ccollections\nOrderedDict\n)R"].concat(),
        );
        pickle.extend([metadata, &b"tR"[..]].concat());
    }
    pickle.extend(b"u.");
    let numbers: Vec<u8> = (0..6u8).flat_map(|x| f32::from(x).to_le_bytes()).collect();
    archive(&[("a/data.pkl", &pickle), ("a/data/0", &numbers), ("a/data/1", &numbers)])
}

#[test]
fn tensors_of_torch_that_share_numbers_are_both_named() {
    // Beside each other in one storage, or in two.
    for good in [[("x", "0", 0), ("y", "0", 3)], [("x", "0", 1), ("y", "1", 1)]] {
        let file = saved(&good.map(|(name, storage, offset)| (name, storage, offset, &b""[..])));
        assert_eq!(torch::tensors(&file).unwrap().len(), 2);
    }
    for offset in [0, 2] {
        let file = saved(&[("x", "0", 0, b""), ("z", "1", 0, b""), ("y", "0", offset, b"")]);
        says(&torch::tensors(&file).unwrap_err(), &["x and y share their numbers", "tensor.clone()"]);
    }
}

#[test]
fn a_tensor_of_torch_whose_sign_was_put_off_is_refused() {
    let neg = |value: &[u8]| [b"}X\x03\0\0\0neg", value, b"s"].concat();
    let file = saved(&[("x", "0", 0, &neg(b"\x89")), ("y", "1", 3, b"")]);
    let read = torch::tensors(&file).unwrap();
    assert_eq!(read["y"].bytes[..4], 3f32.to_le_bytes());
    let file = saved(&[("x", "0", 0, b""), ("y", "1", 3, &neg(b"\x88"))]);
    says(
        &torch::tensors(&file).unwrap_err(),
        &["y: PyTorch's negative bit is set", "Save tensor.resolve_neg()"],
    );
    let file = saved(&[("x", "0", 0, b"}X\x04\0\0\0conj\x88s")]);
    says(
        &torch::tensors(&file).unwrap_err(),
        &["x: PyTorch's conjugate bit is set", "tensor.resolve_conj()"],
    );
}
