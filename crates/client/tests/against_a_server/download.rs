//! A download ends with the manifest's bytes or with an error, whatever the
//! coordinator does on the way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::fake::{CHUNK, FakeCoordinator, Fault, QUICK};
use client::{Connection, Download, Error};
use proto::v1::{CheckpointManifest, FileKind};
use tempfile::TempDir;
use tonic::Code;

const WEIGHTS: &str = "model/model.safetensors";

async fn download(
    connection: &Connection,
    manifest: &CheckpointManifest,
    dir: &Path,
) -> Result<Vec<std::path::PathBuf>, Error> {
    Download::new(connection, manifest)
        .only(FileKind::Model)
        .policy(QUICK)
        .silence(Duration::from_millis(300))
        .into_dir(dir)
        .await
}

/// Downloads from a coordinator with these faults and expects success; returns
/// the offsets at which the weights were read.
async fn offsets_despite(faults: &[Fault]) -> Vec<u64> {
    let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
    manifest.files.retain(|file| file.name == WEIGHTS);
    coordinator.fail_with(faults.iter().copied());
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    download(&connection, &manifest, dir.path()).await.unwrap();
    let arrived = fs::read(dir.path().join("model.safetensors")).unwrap();
    assert!(arrived == coordinator.content_of(WEIGHTS));
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no partial file is left"
    );
    coordinator.reads_of(WEIGHTS)
}

#[tokio::test]
async fn the_files_of_the_kind_asked_for_arrive_under_their_plain_names() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let into = dir.path().join("made/on/demand");
    let paths = download(&connection, &manifest, &into).await.unwrap();
    assert_eq!(
        paths,
        [into.join("config.json"), into.join("model.safetensors")]
    );
    assert_eq!(fs::read(&paths[0]).unwrap(), b"{}");
    assert!(fs::read(&paths[1]).unwrap() == coordinator.content_of(WEIGHTS));
}

#[tokio::test]
async fn progress_counts_every_byte_and_knows_the_whole_from_the_start() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let mut seen = Vec::new();
    Download::new(&connection, &manifest)
        .policy(QUICK)
        .on_progress(|progress| seen.push((progress.received, progress.size)))
        .into_dir(dir.path())
        .await
        .unwrap();
    let whole: u64 = manifest.files.iter().map(|file| file.size).sum();
    assert!(seen.is_sorted() && seen.iter().all(|(_, size)| *size == whole));
    assert_eq!(seen.last(), Some(&(whole, whole)));
}

#[tokio::test]
async fn a_cut_read_goes_on_where_it_was_cut() {
    let chunk = CHUNK as u64;
    let offsets = offsets_despite(&[Fault::CutAfter(2), Fault::CutAfter(1)]).await;
    assert_eq!(offsets, [0, 2 * chunk, 3 * chunk]);
}

#[tokio::test]
async fn a_read_that_ends_too_early_goes_on() {
    assert_eq!(
        offsets_despite(&[Fault::EndAfter(4)]).await,
        [0, 4 * CHUNK as u64]
    );
}

#[tokio::test]
async fn a_coordinator_that_falls_silent_is_asked_again() {
    assert_eq!(
        offsets_despite(&[Fault::SilentAfter(3)]).await,
        [0, 3 * CHUNK as u64]
    );
}

#[tokio::test]
async fn an_unavailable_coordinator_is_asked_again() {
    let refusals = [
        Fault::Refuse(Code::Unavailable),
        Fault::Refuse(Code::ResourceExhausted),
    ];
    assert_eq!(offsets_despite(&refusals).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_chunk_that_contradicts_its_hash_is_not_written() {
    assert_eq!(
        offsets_despite(&[Fault::WrongChunk(3)]).await,
        [0, 3 * CHUNK as u64]
    );
}

#[tokio::test]
async fn a_file_that_contradicts_its_manifest_is_read_again_whole() {
    assert_eq!(offsets_despite(&[Fault::WrongContent]).await, [0, 0]);
}

#[tokio::test]
async fn more_bytes_than_the_manifest_promises_are_not_taken() {
    assert_eq!(offsets_despite(&[Fault::TooMuch]).await[0], 0);
}

#[tokio::test]
async fn wrong_bytes_every_time_end_the_download_without_a_file() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    coordinator.fail_with([Fault::WrongContent; 3]);
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let error = download(&connection, &manifest, dir.path())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { file, .. } if file == "model/config.json"),
        "{error}"
    );
    assert!(error.is_fatal());
    assert!(!dir.path().join("config.json").exists());
}

#[tokio::test]
async fn a_refusal_ends_the_download_at_once() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    coordinator.fail_with([Fault::Refuse(Code::NotFound)]);
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let error = download(&connection, &manifest, dir.path())
        .await
        .unwrap_err();
    assert!(error.is_not_found() && error.is_fatal(), "{error}");
    assert_eq!(coordinator.reads_of("model/config.json"), [0]);
}

#[tokio::test]
async fn a_later_process_resumes_what_an_earlier_one_left() {
    let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
    manifest.files.retain(|file| file.name == WEIGHTS);
    let content = coordinator.content_of(WEIGHTS);
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    fs::write(
        dir.path().join("model.safetensors.partial"),
        &content[..1234],
    )
    .unwrap();
    download(&connection, &manifest, dir.path()).await.unwrap();
    assert_eq!(coordinator.reads_of(WEIGHTS), [1234]);
    assert!(fs::read(dir.path().join("model.safetensors")).unwrap() == content);
}

#[tokio::test]
async fn a_partial_file_with_a_torn_write_in_it_is_found_out() {
    let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
    manifest.files.retain(|file| file.name == WEIGHTS);
    let content = coordinator.content_of(WEIGHTS);
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let mut torn = content[..3000].to_vec();
    torn[2500..].fill(0);
    fs::write(dir.path().join("model.safetensors.partial"), torn).unwrap();
    download(&connection, &manifest, dir.path()).await.unwrap();
    assert_eq!(coordinator.reads_of(WEIGHTS), [3000, 0]);
    assert!(fs::read(dir.path().join("model.safetensors")).unwrap() == content);
}

#[tokio::test]
async fn a_file_that_a_dropped_attempt_still_writes_is_waited_for() {
    let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
    manifest.files.retain(|file| file.name == WEIGHTS);
    let content = coordinator.content_of(WEIGHTS);
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let partial = dir.path().join("model.safetensors.partial");
    // What the thread of a dropped attempt holds, and then lets go.
    let held = fs::File::create(&partial).unwrap();
    held.lock().unwrap();
    let downloading = download(&connection, &manifest, dir.path());
    tokio::pin!(downloading);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut downloading).await;
    assert!(early.is_err(), "{early:?}");
    assert!(coordinator.reads_of(WEIGHTS).is_empty());
    fs::write(&partial, &content).unwrap();
    fs::rename(&partial, dir.path().join("model.safetensors")).unwrap();
    drop(held);
    downloading.await.unwrap();
    // It was whole by then: nothing is read again, and nothing is left.
    assert!(coordinator.reads_of(WEIGHTS).is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_there_already_is_not_read_again_and_what_is_wrong_is_replaced() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("config.json"), b"{}").unwrap();
    fs::write(
        dir.path().join("model.safetensors"),
        b"of another checkpoint",
    )
    .unwrap();
    download(&connection, &manifest, dir.path()).await.unwrap();
    assert!(coordinator.reads_of("model/config.json").is_empty());
    let arrived = fs::read(dir.path().join("model.safetensors")).unwrap();
    assert!(arrived == coordinator.content_of(WEIGHTS));
}

#[tokio::test]
async fn a_manifest_that_leads_out_of_the_folder_is_refused_before_the_first_byte() {
    for name in [
        "../config.json",
        "/etc/passwd",
        "model/..",
        "",
        "a//b",
        "a\\b",
        "x.partial",
    ] {
        let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
        manifest.files[1].name = name.to_owned();
        let connection = coordinator.serve().await;
        let dir = TempDir::new().unwrap();
        let error = download(&connection, &manifest, dir.path())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Manifest { .. }), "{name}: {error}");
        assert!(coordinator.state.lock().unwrap().reads.is_empty());
    }
}

#[tokio::test]
async fn two_files_of_one_name_and_malformed_hashes_are_refused() {
    let (coordinator, manifest) = FakeCoordinator::with_checkpoint();
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let mut collides = manifest.clone();
    collides.files[1].name = "other/config.json".to_owned();
    let mut unhashed = manifest.clone();
    unhashed.files[1].sha256 = vec![0; 31].into();
    for (manifest, reason) in [
        (collides, "two files are named config.json"),
        (unhashed, "no sha256"),
    ] {
        let error = download(&connection, &manifest, dir.path())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_fit_on_the_disk_is_refused_before_the_first_byte() {
    let (coordinator, mut manifest) = FakeCoordinator::with_checkpoint();
    manifest.files[0].size = u64::MAX;
    manifest.files[1].size = u64::MAX;
    let connection = coordinator.serve().await;
    let dir = TempDir::new().unwrap();
    let error = download(&connection, &manifest, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(coordinator.state.lock().unwrap().reads.is_empty());
}
