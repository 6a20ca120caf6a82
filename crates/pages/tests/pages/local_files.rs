//! Rows from files on disk.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use ledger::PageId;
use pages::{ErrorClass, LocalFiles, Source as _, SourceError};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

/// Every third text is long, so that pages and buffers are crossed; every 50th is null.
fn text(row: usize) -> Option<String> {
    match row {
        row if row % 50 == 49 => None,
        row if row.is_multiple_of(3) => Some(format!("row {row} {}", "ünïcödé ".repeat(row % 200))),
        row => Some(format!("row {row}")),
    }
}

fn texts(rows: std::ops::Range<usize>) -> Vec<String> {
    rows.map(|row| text(row).unwrap_or_default()).collect()
}

/// Writes rows as Falcon's files have them: nullable text among other columns, in row groups.
fn write_parquet(
    path: &Path,
    rows: std::ops::Range<usize>,
    group: usize,
    compression: Compression,
) {
    let schema = "message schema {
        optional binary url (UTF8);
        optional binary content (UTF8);
        required binary dump (UTF8);
        required int32 number;
        optional group image_urls (LIST) { repeated group list { optional binary item (UTF8); } }
    }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let rows: Vec<usize> = rows.collect();
    for rows in rows.chunks(group) {
        let mut row_group = writer.next_row_group().unwrap();
        let mut write_text = |values: Vec<Option<String>>, is_list: bool, required: bool| {
            let mut column = row_group.next_column().unwrap().unwrap();
            let present = if is_list { 3 } else { 1 };
            let levels: Vec<i16> = values
                .iter()
                .map(|value| if value.is_some() { present } else { 0 })
                .collect();
            let repetitions = vec![0; levels.len()];
            let values: Vec<ByteArray> = values
                .iter()
                .flatten()
                .map(|value| value.as_str().into())
                .collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(
                    &values,
                    (!required).then_some(&levels),
                    is_list.then_some(&repetitions),
                )
                .unwrap();
            column.close().unwrap();
        };
        write_text(
            rows.iter().map(|row| Some(format!("url {row}"))).collect(),
            false,
            false,
        );
        write_text(rows.iter().map(|row| text(*row)).collect(), false, false);
        write_text(
            rows.iter().map(|row| Some(format!("dump {row}"))).collect(),
            false,
            true,
        );
        let mut column = row_group.next_column().unwrap().unwrap();
        let numbers: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        column
            .typed::<Int32Type>()
            .write_batch(&numbers, None, None)
            .unwrap();
        column.close().unwrap();
        let mut column = row_group.next_column().unwrap().unwrap();
        let (levels, repetitions) = (vec![0; rows.len()], vec![0; rows.len()]);
        column
            .typed::<ByteArrayType>()
            .write_batch(&[], Some(&levels), Some(&repetitions))
            .unwrap();
        column.close().unwrap();
        row_group.close().unwrap();
    }
    writer.close().unwrap();
}

fn write_json_lines(path: &Path, rows: std::ops::Range<usize>) {
    let lines: Vec<String> = rows
        .map(|row| serde_json::json!({"id": row, "content": text(row)}).to_string())
        .collect();
    fs::write(path, lines.join("\n")).unwrap();
}

fn assert_pages(files: &LocalFiles, rows: usize) {
    assert_eq!(files.info().rows, rows as u64);
    for page in 0..rows.div_ceil(100) {
        let expected = texts(100 * page..rows.min(100 * page + 100));
        assert_eq!(
            files.read_page(PageId(page as u64)).unwrap(),
            expected,
            "page {page}"
        );
    }
    let pages = rows.div_ceil(100) as u64;
    assert_eq!(
        files.read_page(PageId(pages)).unwrap_err(),
        SourceError::PastTheEnd { page: pages, pages }
    );
}

#[test]
fn parquet_rows_are_read_across_row_groups() {
    let folder = TempDir::new().unwrap();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
    ] {
        let path = folder.path().join("part.parquet");
        write_parquet(&path, 0..1015, 130, compression);
        assert_pages(&LocalFiles::open(&path, "content").unwrap(), 1015);
        let dumps = LocalFiles::open(&path, "dump")
            .unwrap()
            .read_page(PageId(10))
            .unwrap();
        assert_eq!(dumps[14], "dump 1014", "a column without nulls works too");
    }
}

#[test]
fn json_lines_are_read_from_any_page() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("part.jsonl");
    write_json_lines(&path, 0..1015);
    assert_pages(&LocalFiles::open(&path, "content").unwrap(), 1015);
}

#[test]
fn a_text_file_is_a_document_per_block_of_lines() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("book.txt");
    let documents: Vec<String> = (0..250)
        .map(|n| format!("Chapter {n}\nIt was  dark."))
        .collect();
    fs::write(&path, documents.join("\n\n\n")).unwrap();
    let files = LocalFiles::open(&path, "content").unwrap();
    assert_eq!(files.info().rows, 250);
    assert_eq!(files.read_page(PageId(0)).unwrap(), documents[..100]);
    assert_eq!(files.read_page(PageId(2)).unwrap(), documents[200..]);
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names_and_pages_cross_files() {
    let folder = TempDir::new().unwrap();
    let below = |name: &str| folder.path().join(name);
    fs::create_dir(below("b")).unwrap();
    write_json_lines(&below("c.jsonl"), 800..1015);
    write_parquet(&below("b/0.parquet"), 250..799, 200, Compression::SNAPPY);
    write_json_lines(&below("b/1.ndjson"), 799..800);
    write_json_lines(&below("a.jsonl"), 0..250);
    fs::write(below("README.md"), "not data").unwrap();
    fs::write(below(".hidden.jsonl"), "not data").unwrap();
    fs::write(below("d.jsonl"), "\n\n").unwrap();
    assert_pages(&LocalFiles::open(folder.path(), "content").unwrap(), 1015);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_loop_of_them_is_noticed() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("snapshot")).unwrap();
    let blob = folder.path().join("blob");
    write_json_lines(&blob, 0..10);
    let snapshot = folder.path().join("snapshot");
    std::os::unix::fs::symlink(&blob, snapshot.join("part.jsonl")).unwrap();
    assert_pages(&LocalFiles::open(&snapshot, "content").unwrap(), 10);
    std::os::unix::fs::symlink(&snapshot, snapshot.join("loop")).unwrap();
    let words = LocalFiles::open(&snapshot, "content")
        .unwrap_err()
        .to_string();
    assert!(words.contains("loop"), "{words}");
}

#[test]
fn the_revision_follows_names_and_contents_but_not_places() {
    let revision = |names: &[&str], rows: std::ops::Range<usize>| {
        let folder = TempDir::new().unwrap();
        for name in names {
            write_json_lines(&folder.path().join(name), rows.clone());
        }
        LocalFiles::open(folder.path(), "content")
            .unwrap()
            .info()
            .revision
            .clone()
    };
    let first = revision(&["a.jsonl"], 0..10);
    assert!(first.starts_with("blake3:"));
    assert_eq!(revision(&["a.jsonl"], 0..10), first);
    assert_ne!(revision(&["b.jsonl"], 0..10), first);
    assert_ne!(revision(&["a.jsonl"], 1..11), first);
    assert_ne!(revision(&["a.jsonl", "b.jsonl"], 0..10), first);
}

#[test]
fn a_file_that_changes_after_it_was_indexed_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("part.jsonl");
    write_json_lines(&path, 0..200);
    let files = LocalFiles::open(&path, "content").unwrap();
    write_json_lines(&path, 0..199);
    let failure = files.read_page(PageId(0)).unwrap_err();
    assert_eq!(failure.class(), ErrorClass::Fatal);
    assert!(
        failure.to_string().contains("changed since it was indexed"),
        "{failure}"
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(
        files.read_page(PageId(0)).unwrap_err().class(),
        ErrorClass::Fatal
    );
}

#[test]
fn a_row_that_is_no_text_skips_its_page_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("part.jsonl");
    let mut lines: Vec<String> = (0..300)
        .map(|n| format!("{{\"content\":\"row {n}\"}}"))
        .collect();
    lines[150] = "{\"content\": \"cut off".into();
    fs::write(&path, lines.join("\n")).unwrap();
    let files = LocalFiles::open(&path, "content").unwrap();
    assert!(files.read_page(PageId(0)).is_ok());
    assert!(files.read_page(PageId(2)).is_ok());
    match files.read_page(PageId(1)).unwrap_err().class() {
        ErrorClass::Skip { reason } => {
            assert!(
                reason.contains("part.jsonl") && reason.contains("row 150"),
                "{reason}"
            );
        }
        class => panic!("{class:?}"),
    }

    let path = folder.path().join("latin1.txt");
    fs::write(&path, [b"good\n\n".as_slice(), b"caf\xe9\n"].concat()).unwrap();
    let files = LocalFiles::open(&path, "").unwrap();
    assert!(matches!(
        files.read_page(PageId(0)).unwrap_err().class(),
        ErrorClass::Skip { .. }
    ));
}

#[test]
fn what_cannot_be_used_is_refused_by_name_before_anything_starts() {
    let folder = TempDir::new().unwrap();
    let refused = |name: &str, contents: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        let words = LocalFiles::open(&path, "content").unwrap_err().to_string();
        assert!(words.contains(name), "{words}");
        fs::remove_file(&path).unwrap();
        words
    };
    assert!(refused("data.csv", b"a,b").contains(".parquet, .jsonl"));
    assert!(refused("data.parquet", b"PAR1 no parquet").contains("cannot read"));
    assert!(refused("data.jsonl", b"{\"text\":\"x\",\"id\":1}").contains("text"));
    assert!(refused("data.jsonl", b"{\"content\":1}").contains("a number"));
    assert!(refused("data.jsonl", b"[1]").contains("first row"));
    assert!(refused("data.txt", b"\n\n").contains("no rows"));

    let empty = LocalFiles::open(folder.path(), "content")
        .unwrap_err()
        .to_string();
    assert!(empty.contains("no rows"), "{empty}");
    let missing = LocalFiles::open(&folder.path().join("nowhere"), "content").unwrap_err();
    assert!(missing.to_string().contains("nowhere"));

    let path = folder.path().join("part.parquet");
    write_parquet(&path, 0..10, 10, Compression::SNAPPY);
    for (column, expected) in [
        ("text", "url, content, dump"),
        ("number", "INT32"),
        ("image_urls", "image_urls.list.item"),
    ] {
        let words = LocalFiles::open(&path, column).unwrap_err().to_string();
        assert!(
            words.contains(expected) && words.contains(&format!("`{column}`")),
            "{words}"
        );
    }
}

#[tokio::test]
async fn files_are_a_source_like_any_other() {
    let folder = TempDir::new().unwrap();
    write_json_lines(&folder.path().join("part.jsonl"), 0..215);
    let files = LocalFiles::open(folder.path(), "content").unwrap();
    assert_eq!(files.describe().await.unwrap(), *files.info());
    assert_eq!(files.page(PageId(2)).await.unwrap(), texts(200..215));
    assert_eq!(files.metrics().requests, 1);
    assert_eq!(
        files.metrics().bytes,
        texts(200..215).iter().map(|t| t.len() as u64).sum::<u64>()
    );
}
