# make check   what must pass before a change lands: format, lints, links in the documentation, tests
# make test    the tests alone; the README's command
# make bench   the real binary against a bare forwarding loop, into BENCHMARKS.md; the store with millions in it; each step by itself

.PHONY: check test bench

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(MAKE) test

test:
	cargo test --locked

bench:
	cargo bench --locked --bench throughput -- --write
	cargo bench --locked --bench store -- --waiting 1000000 --history 2000000
	cargo bench --locked --bench micro
