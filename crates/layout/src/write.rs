//! Writing a model directory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::config::Gpt2Config;
use crate::error::LayoutError;
use crate::shards::{ShardIndex, plan_shards};
use crate::{CONFIG_FILE, GENERATION_CONFIG_FILE, INDEX_FILE, MODEL_FILE};

/// Large enough that a tensor of megabytes is not written in crumbs.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a model as transformers' `save_pretrained` does: `config.json`,
/// `generation_config.json`, and the weights in fp32, in files of at most
/// `max_shard_bytes` if that is given. The directory is created if need be.
///
/// `write_tensor` is called once for each tensor name, in the order of the
/// files, and writes the tensor's elements, row-major and little endian. Each
/// file appears under its name only when it is complete and on disk.
/// `config.json` comes last: a directory without one is no model.
///
/// # Errors
/// When the directory already holds a model, a file cannot be written, or
/// `write_tensor` fails or writes another number of bytes than the tensor has.
pub fn write_model_dir(
    dir: &Path,
    config: &Gpt2Config,
    max_shard_bytes: Option<u64>,
    mut write_tensor: impl FnMut(&str, &mut dyn Write) -> io::Result<()>,
) -> Result<(), LayoutError> {
    fs::create_dir_all(dir).map_err(|source| LayoutError::io(dir, source))?;
    for name in [CONFIG_FILE, MODEL_FILE, INDEX_FILE] {
        // What is left of another model would be read instead of this one, or mixed with it.
        let path = dir.join(name);
        if path.exists() {
            return Err(LayoutError::AlreadyThere { path });
        }
    }

    let shards = plan_shards(config, max_shard_bytes);
    for shard in &shards {
        replace_file(&dir.join(&shard.file_name), |out| {
            out.write_all(&shard.header.to_bytes())?;
            for entry in shard.header.entries() {
                let mut counted = Counted { out, bytes: 0 };
                write_tensor(&entry.name, &mut counted)?;
                if counted.bytes != entry.bytes {
                    let reason = format!(
                        "{} has {} bytes, and {} were written",
                        entry.name, entry.bytes, counted.bytes
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
                }
            }
            Ok(())
        })?;
    }
    if shards.len() > 1 {
        let index = ShardIndex::of(&shards).to_json();
        replace_file(&dir.join(INDEX_FILE), |out| out.write_all(&index))?;
    }
    let generation = config.generation_json();
    replace_file(&dir.join(GENERATION_CONFIG_FILE), |out| {
        out.write_all(&generation)
    })?;
    replace_file(&dir.join(CONFIG_FILE), |out| {
        out.write_all(&config.to_json())
    })
}

/// Writes a file so that its name leads either to what was there before or to
/// the complete new content on disk, whenever the power fails.
///
/// # Errors
/// When `write` fails, or a file beside `path` cannot be created, flushed or renamed.
pub fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), LayoutError> {
    let mut partial_name = OsString::from(path.as_os_str());
    partial_name.push(".partial");
    let partial = PathBuf::from(partial_name);

    let written = File::create(&partial).and_then(|file| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        // The rename itself is durable once the folder is.
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|source| {
        // Nothing more can be done if even this fails: the first error is the one that tells.
        let _ = fs::remove_file(&partial);
        LayoutError::io(path, source)
    })
}

/// Counts what passes through.
struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
