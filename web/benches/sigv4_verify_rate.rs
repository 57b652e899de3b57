//! How many signed requests a second one core verifies: the request that boto3 sends for `DescribeStream`, its head parsed already.
//!
//! `verify` has the signing key at hand, as the server has from the second request of a key on; `verify_anew` derives it. Beside them `hashes`:
//! the SHA-256 of the body and of the canonical request, and the HMAC, alone.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use web::measured::Signature;

fn rate(c: &mut Criterion) {
    let signature = Signature::default();
    assert!(signature.verify(), "what is measured holds");
    let mut group = c.benchmark_group("sigv4_verify_rate");
    group.bench_function("verify", |b| b.iter(|| black_box(signature.verify())));
    group.bench_function("verify_anew", |b| b.iter(|| black_box(signature.verify_anew())));
    group.bench_function("hashes", |b| b.iter(|| black_box(signature.hashes())));
    group.finish();
}

criterion_group!(benches, rate);
criterion_main!(benches);
