//! How fast is a mixed TCP stream cut into packages and those into messages, at several sizes of
//! read? *copy alone* is the floor: each read fills a buffer of its own, as a socket's does.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pomelo_protocol::{
    EncodeError, Frame, Message, MessageHead, PackageDecoder, PackageKind, RequestId,
};

const PACKAGES: usize = 1000;

/// Of ten packages one is a heartbeat, one a long request, and the others are short messages.
fn mixed_stream() -> Vec<u8> {
    let mut stream = Vec::new();
    let mut scratch = Vec::new();
    for n in 0..PACKAGES {
        let id = RequestId::new(n as u64);
        let route = "chat.chatHandler.send".into();
        let (head, len) = match n % 10 {
            0 => {
                stream.extend_from_slice(Frame::heartbeat().as_bytes());
                continue;
            }
            9 => (MessageHead::Request { id, route }, 2000),
            odd if odd % 2 == 1 => (MessageHead::Request { id, route }, 20 + n % 100),
            _ => (MessageHead::Notify { route }, 20 + n % 100),
        };
        let frame = Frame::build(&mut scratch, PackageKind::Data, |out| {
            head.write(out, false)?;
            out.resize(out.len() + len, b'x');
            Ok::<_, EncodeError>(())
        });
        stream.extend_from_slice(frame.expect("far below 16 MiB").as_bytes());
    }
    stream
}

fn cut(stream: &[u8], read: usize, mut take: impl FnMut(PackageKind, &[u8])) {
    let mut decoder = PackageDecoder::new(1 << 20);
    let mut packages = 0;
    for chunk in stream.chunks(read) {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Ok(Some(package)) = decoder.next_package() {
            take(package.kind, &package.body);
            packages += 1;
        }
    }
    assert_eq!(packages, PACKAGES);
}

fn stream(criterion: &mut Criterion) {
    let stream = mixed_stream();
    let mut group = criterion.benchmark_group("stream of 1000 packages");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for read in [64, 1460, 16 << 10] {
        group.bench_function(BenchmarkId::new("copy alone", read), |bencher| {
            bencher.iter(|| {
                for chunk in stream.chunks(read) {
                    black_box(Bytes::copy_from_slice(chunk));
                }
            });
        });
        group.bench_function(BenchmarkId::new("cut into packages", read), |bencher| {
            bencher.iter(|| {
                cut(&stream, read, |kind, body| {
                    black_box((kind, body));
                });
            });
        });
        group.bench_function(BenchmarkId::new("cut and decode", read), |bencher| {
            bencher.iter(|| {
                cut(&stream, read, |kind, body| {
                    if kind == PackageKind::Data {
                        let message = Message::decode(body).expect("the bench wrote it");
                        black_box(message);
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stream);
criterion_main!(benches);
