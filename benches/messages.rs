//! What does one message cost, decoded and encoded, beside copying its package?

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pomelo_protocol::{
    EncodeError, Message, MessageHead, PackageKind, PackageRef, RequestId, write_package,
};

const SIZES: [usize; 4] = [16, 64, 1024, 16 << 10];
const MAX: u32 = 1 << 20;

fn write(out: &mut Vec<u8>, head: &MessageHead<'_>, body: &[u8]) {
    out.clear();
    let written = write_package(out, PackageKind::Data, |out| {
        head.write(out, false)?;
        out.extend_from_slice(body);
        Ok::<_, EncodeError>(())
    });
    written.expect("bodies here are far below 16 MiB");
}

fn heads() -> [(&'static str, MessageHead<'static>); 4] {
    let id = RequestId::new(300);
    let route = "chat.chatHandler.send";
    [
        (
            "request",
            MessageHead::Request {
                id,
                route: route.into(),
            },
        ),
        (
            "notify",
            MessageHead::Notify {
                route: route.into(),
            },
        ),
        ("response", MessageHead::Response { id, error: false }),
        (
            "push",
            MessageHead::Push {
                route: "onChat".into(),
            },
        ),
    ]
}

fn decode(mut package: &[u8]) -> Message<'_> {
    let package = PackageRef::split_from(&mut package, MAX);
    let package = package
        .expect("the bench wrote it")
        .expect("the bench wrote all of it");
    Message::decode(package.body).expect("the bench wrote it")
}

fn messages(criterion: &mut Criterion) {
    for (kind, head) in heads() {
        let mut group = criterion.benchmark_group(kind);
        for size in SIZES {
            let body = vec![b'x'; size];
            let mut package = Vec::new();
            write(&mut package, &head, &body);
            group.throughput(Throughput::Bytes(package.len() as u64));
            let mut out = Vec::with_capacity(package.len());
            group.bench_function(BenchmarkId::new("memcpy", size), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    out.extend_from_slice(black_box(&package));
                    black_box(&mut out);
                });
            });
            group.bench_function(BenchmarkId::new("decode", size), |bencher| {
                bencher.iter(|| decode(black_box(&package)));
            });
            group.bench_function(BenchmarkId::new("encode", size), |bencher| {
                bencher.iter(|| {
                    write(&mut out, black_box(&head), black_box(&body));
                    black_box(&mut out);
                });
            });
            group.bench_function(BenchmarkId::new("decode+encode", size), |bencher| {
                bencher.iter(|| {
                    let message = decode(black_box(&package));
                    write(&mut out, &message.head, message.body);
                    black_box(&mut out);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, messages);
criterion_main!(benches);
