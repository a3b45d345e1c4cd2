//! How fast is a mixed TCP stream cut into packages, at several sizes of read?

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pomelo_protocol::{Frame, PackageDecoder, PackageKind};

fn mixed_stream() -> Vec<u8> {
    let mut stream = Vec::new();
    for n in 0..1000_usize {
        let (kind, len) = match n % 10 {
            0 => (PackageKind::Heartbeat, 0),
            9 => (PackageKind::Data, 2000),
            _ => (PackageKind::Data, 20 + n % 100),
        };
        let frame = Frame::new(kind, &vec![1; len]).expect("far below 16 MiB");
        stream.extend_from_slice(frame.as_bytes());
    }
    stream
}

fn stream(criterion: &mut Criterion) {
    let stream = mixed_stream();
    let mut group = criterion.benchmark_group("stream of 1000 packages");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for read in [64, 1460, 16 << 10] {
        group.bench_function(BenchmarkId::new("copy alone", read), |bencher| {
            bencher.iter(|| {
                stream
                    .chunks(read)
                    .map(Bytes::copy_from_slice)
                    .map(|b| b.len())
                    .sum::<usize>()
            });
        });
        group.bench_function(BenchmarkId::new("copy and decode", read), |bencher| {
            bencher.iter(|| {
                let mut decoder = PackageDecoder::new(1 << 20);
                let mut packages = 0;
                for chunk in stream.chunks(read) {
                    decoder.push(Bytes::copy_from_slice(chunk));
                    while let Ok(Some(_)) = decoder.next_package() {
                        packages += 1;
                    }
                }
                assert_eq!(packages, 1000);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, stream);
criterion_main!(benches);
