//! `vidicon export`: a range of a stream as a Matroska or MP4 file, out of a data folder, whether a server has it open or not, or from a
//! running server.

mod file;
mod remote;
mod times;

use crate::args::{ExportFormat, ExportOptions};
use crate::cmd::identities::remote::Server;
use crate::running::Failure;
use file::Target;
use media::UnixMillis;
use media::export::Format;
use std::path::Path;
use store::archive::Archive;
use store::export::{Export, Source, Step};
use store::{Kind, Range};

/// Writes the file; what is missing in it is told on standard error.
pub(crate) fn run(options: ExportOptions) -> Result<(), Failure> {
    let range = range(&options)?;
    let format = format(&options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::other(format!("threads cannot be started: {e}")))?;
    runtime.block_on(async {
        match &options.url {
            Some(url) => {
                let server = Server::of(url, options.ca.as_deref())?;
                let source = remote::Stream::new(server, options.stream.clone());
                write(source, range, format, &options).await
            }
            None => {
                let data = options.data.clone();
                let encryption = options.encryption.load()?;
                let opened = tokio::task::spawn_blocking(move || Archive::open(&data, &encryption)).await;
                let archive = opened.map_err(Failure::other)?.map_err(Failure::of_store)?;
                let source = archive.stream(&options.stream).await.map_err(Failure::other)?;
                write(source, range, format, &options).await
            }
        }
    })
}

async fn write(source: impl Source, range: Range, format: Format, options: &ExportOptions) -> Result<(), Failure> {
    let failed = |e: store::Error| match e.kind() {
        Kind::Invalid => Failure::config(e),
        _ => Failure::other(e),
    };
    let mut export = Export::new(source, range, format).await.map_err(failed)?;
    let mut target = Target::create(&options.out)?;
    let mut left_out = 0;
    while let Some(step) = export.next().await.map_err(failed)? {
        match step {
            Step::Bytes(chunks) => target.write(&chunks).await?,
            Step::Gap { from, to, why } => {
                left_out += 1;
                eprintln!("gap: {} to {}: {why}", from.to_rfc3339(), to.to_rfc3339());
            }
        }
    }
    let bytes = target.finish().await?;
    eprintln!("{}: {} fragments, {bytes} bytes, {left_out} gaps", options.out.display(), export.written);
    Ok(())
}

fn range(options: &ExportOptions) -> Result<Range, Failure> {
    let read = |name: &str, text: &Option<String>, default: i64| match text {
        None => Ok(UnixMillis(default)),
        Some(text) => times::parse(text).ok_or_else(|| {
            Failure::config(format!(
                "--{name} {text}: a time such as 2026-11-23T06:01:21Z, or seconds or milliseconds since 1970, is needed"
            ))
        }),
    };
    let range = Range { from: read("from", &options.from, i64::MIN / 2)?, to: read("to", &options.to, i64::MAX / 2)? };
    match range.from < range.to {
        true => Ok(range),
        false => Err(Failure::config("--from must be before --to")),
    }
}

fn format(options: &ExportOptions) -> Result<Format, Failure> {
    let by_name = |path: &Path| match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "mkv" | "webm" | "mka" => Some(ExportFormat::Mkv),
        "mp4" | "m4v" | "m4a" => Some(ExportFormat::Mp4),
        _ => None,
    };
    match options.format.or_else(|| by_name(&options.out)) {
        Some(ExportFormat::Mkv) => Ok(Format::Mkv),
        Some(ExportFormat::Mp4) => Ok(Format::Mp4),
        None => Err(Failure::config("--format mkv or --format mp4 is needed where the file's name does not say it")),
    }
}
