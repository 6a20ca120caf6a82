//! Publishes a folder and says how fast that was and how much memory it took:
//!
//! ```text
//! HF_ACCESS_TOKEN=… cargo run --release -p hub --example publish -- ENDPOINT NAMESPACE/NAME FOLDER
//! ```
//!
//! With `--download FOLDER` after these, the commit is then verified and
//! downloaded into that folder.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use cli::Secret;
use hub::{Event, Hub, HubConfig, Publish};
use subnet::RepoId;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, repo, folder, rest @ ..] = &arguments[..] else {
        return Err("usage: publish ENDPOINT NAMESPACE/NAME FOLDER [--download FOLDER]".into());
    };
    let repo: RepoId = repo.parse()?;
    let token = std::env::var("HF_ACCESS_TOKEN").ok();
    let token = token.map(|token| Secret::new(&token));
    let cache = std::env::temp_dir().join(format!("hub-example-{}", std::process::id()));
    let hub = Hub::new(HubConfig::new(endpoint, token, &cache))?;
    hub.create_repository(&repo, false).await?;

    let hashed = subnet::hash_directory(Path::new(folder))?;
    let bytes: u64 = hashed.files.iter().map(|file| file.bytes).sum();
    let publish = Publish {
        repo: &repo,
        dir: Path::new(folder),
        files: &hashed.files,
        message: "Publish",
        parent: None,
    };
    let begun = Instant::now();
    let published = hub.publish(&publish, &tell).await?;
    report("published", bytes, begun)?;
    println!(
        "commit {} (adopted: {})",
        published.commit, published.adopted
    );

    if let [flag, into] = rest
        && flag == "--download"
    {
        let begun = Instant::now();
        let served = hub
            .verify(&repo, published.commit, &hashed.files, u64::MAX)
            .await?;
        report("verified", served.bytes, begun)?;
        let begun = Instant::now();
        hub.download(&repo, published.commit, Path::new(into), u64::MAX, &tell)
            .await?;
        report("downloaded", bytes, begun)?;
    }
    let _ = fs::remove_dir_all(cache);
    Ok(())
}

/// Prints what is worth a line.
fn tell(event: Event) {
    match event {
        Event::Transferred { done, total } if done < total => {}
        event => println!("{event:?}"),
    }
}

fn report(what: &str, bytes: u64, begun: Instant) -> Result<(), Box<dyn Error>> {
    let seconds = begun.elapsed().as_secs_f64();
    let rate = bytes as f64 / 1e6 / seconds;
    println!(
        "{what} {bytes} bytes in {seconds:.1} s, {rate:.0} MB/s; {}",
        peak_memory()?
    );
    Ok(())
}

/// The most memory that the process had at a time, where the system tells it.
fn peak_memory() -> Result<String, Box<dyn Error>> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return Ok("peak memory unknown".to_owned());
    };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = match peak.and_then(|peak| peak.trim().strip_suffix(" kB")) {
        Some(kilobytes) => kilobytes.trim().parse()?,
        None => return Ok("peak memory unknown".to_owned()),
    };
    Ok(format!("peak memory {:.0} MB", kilobytes / 1000.0))
}
