# make check   what must pass before a change lands: format, lints, links in the documentation, tests
# make test    the tests alone; the README's command
# make torture every fault at full size against the real binary, with a ledger; ten minutes, and root for some (VERO_RELAY_TORTURE=kill
#              picks some, VERO_RELAY_TORTURE_SEED=N repeats a run, VERO_RELAY_TORTURE_ALLOW_SKIPS=1 accepts what cannot run here)
# make bench   the real binary against a bare forwarding loop, ten rules against ten thousand, the store with millions in it

.PHONY: check test torture bench

check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test torture -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(MAKE) test

test:
	cargo test --locked

torture:
	cargo test --locked --release --test torture

bench:
	cargo bench --locked --bench rules
	cargo bench --locked --bench store -- --waiting 1000000 --history 2000000
	cargo bench --locked --bench throughput -- --events 200000 --dead 1000000
