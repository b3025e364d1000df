# make check   what must pass before a change lands: format, lints, links in the documentation, tests
# make test    the tests alone; the README's command. Installs the browser and the PostgreSQL that some of them need, where it may; ends
#              with what the strict Slack of the tests refused (`cargo test --test fake_slack -- 8099` serves one to try by hand)
# make test-long  the tests with dice, over twenty times as many seeds and as large a backlog; src/seeds.rs says how to repeat one
# make test-busy  the tests five times while something else uses every core; five of five must pass
# make torture every fault at full size against the real binary, with a ledger; ten minutes, and root for some (VERO_RELAY_TORTURE=kill
#              picks some, VERO_RELAY_TORTURE_SEED=N repeats a run, VERO_RELAY_TORTURE_ALLOW_SKIPS=1 accepts what cannot run here)
# make fuzz    each fuzz target for FUZZ_SECONDS (60); needs cargo-fuzz and a nightly toolchain, or RUSTC_BOOTSTRAP=1 with a stable one
# make deb     a Debian package in target/debian; installs cargo-deb where it is missing
# make deb-test  installs that package with dpkg, uses it, and removes it; as root, on a machine without vero-relay
# make audit   advisories, licences, banned packages and sources by deny.toml; installs cargo-deny where it is missing
# make bench   the real binary against a bare forwarding loop, into BENCHMARKS.md; the store with millions in it; each step by itself
# make bench-shared   several relays on one PostgreSQL, into BENCHMARKS.md

.PHONY: check test test-long test-busy torture fuzz deb deb-test audit bench bench-shared

FUZZ_SECONDS ?= 60
FUZZ_TARGETS = journal body config file_path retry_after condition slack

check:
	cargo fmt --check
	# File by file: modules that a macro declares are found by nobody but the compiler.
	find src tests benches fuzz/targets fuzz/fuzz_targets -name '*.rs' -exec rustfmt --check --edition 2024 {} +
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked -- -D warnings
	cargo clippy --locked --test torture --test fake_slack -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(MAKE) test

test:
	tests/browser.sh
	tests/postgres.sh
	rm -f target/tmp/strict-slack.ndjson
	cargo test --locked
	cargo test --locked --test fake_slack -- report

test-long:
	VERO_RELAY_TEST_SEEDS=2000 cargo test --locked -- simulation model_test contract rules::tests journal::tests

test-busy:
	cargo test --locked --no-run
	cargo test --locked --test torture -- busy

torture:
	cargo test --locked --release --test torture

# What is found along the way goes to fuzz/corpus, which is nobody's but this machine's; the seeds are only read.
fuzz:
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target; \
		cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=4096 -timeout=20 || exit 1; \
	done

deb:
	command -v cargo-deb >/dev/null || cargo install --locked --version 3.8.0 cargo-deb
	cargo build --locked --release --bin vero-relay
	rm -f target/debian/*.deb
	cargo deb --no-build --locked

deb-test: deb
	packaging/test-deb.sh target/debian/*.deb

# The advisories come from github.com/rustsec; AUDIT="bans licenses sources" is what can be said without them.
AUDIT ?= advisories bans licenses sources

audit:
	command -v cargo-deny >/dev/null || cargo install --locked --version 0.20.2 cargo-deny
	cargo deny --locked check $(AUDIT)

bench:
	cargo bench --locked --bench throughput -- --write
	cargo bench --locked --bench store -- --waiting 1000000 --history 2000000
	cargo bench --locked --bench micro

bench-shared:
	tests/postgres.sh
	cargo bench --locked --bench shared -- --write
