# Skein. `make` lists the targets. None asks for input; each prints what it does.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help deps build test swift-test interop-test cli-test examples kill-test demo demo-plugins bench lint proto format docs cli-docs man docc clean soak swap-soak group-soak group-bench plugins

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the Debian packages of Deploy/packages.txt that are missing
	@Deploy/install-packages.sh

build: deps ## release build: .build/release/{skeind,skein,skein-plugin-host}
	@Deploy/build.sh

test: deps ## everything: lint, Swift tests, release build, stock clients, kills
	@Tests/run-all.sh

swift-test: deps ## the Swift tests only
	@Tests/run-all.sh swift

interop-test: build ## stock Python grpcio against the release build
	@Tests/run-all.sh interop

cli-test: build ## the real programs as processes
	@Tests/run-all.sh cli

examples: deps ## the examples of Deploy/examples, in Swift and Python, run and checked
	@Tests/run-all.sh examples

kill-test: deps ## real brokers killed under load, with and without the power-cut layer
	@Tests/run-all.sh kill

demo: build ## stream a real file of this machine through a TLS broker and a consumer group, and check the result
	@Deploy/demo.sh

demo-plugins: build ## swap a live topic's partitioner to a third party's signed C plug-in and back, and check every record
	@swift build -c release --static-swift-stdlib --product KillDriver >.build/logs/demo-plugins-build.log 2>&1 || { tail -40 .build/logs/demo-plugins-build.log; exit 1; }
	@Deploy/demo-plugins.sh

bench: build ## speed against the yardsticks: pairs, medians, all runs printed
	@Tests/bench/run.sh

plugins: deps ## Skein's own plug-ins: .build/plugins/NAME/plugin.so and manifest.json
	@Plugins/build.sh .build/plugins

lint: deps ## format, and that generated code and documents are current
	@Deploy/lint.sh

proto: deps ## generate Sources/CSkeinProto and Sources/Wire/Generated from Proto/
	@Deploy/generate-proto.sh

format: ## swift format, in place
	@swift format -i --recursive --parallel Sources Tests Package.swift Plugins/*.swift Plugins/*/*.swift

docs: ## write the documents that are generated from code
	@SKEIN_WRITE_DOCS=1 swift test --filter DocumentTests

cli-docs: build ## write Docs/cli.md from the programs' own help
	@Deploy/generate-cli-docs.py

man: build ## write man pages of both programs to .build/man
	@Deploy/generate-cli-docs.py --man .build/man

docc: deps ## the reference of SkeinClient, with its links checked
	@Deploy/docc.sh

clean: ## remove what was built
	@rm -rf .build .interop

soak: deps ## 200,000 lives of a consumer group, 20,000 of compacted partitions, then kills for SKEIN_SOAK_ROUNDS rounds (default 500), each with a new printed seed
	@SKEIN_SIMULATION_SEEDS=$${SKEIN_SOAK_SEEDS:-200000} swift test --filter GroupSimulationTests
	@SKEIN_COMPACTION_SEEDS=$${SKEIN_SOAK_COMPACTIONS:-20000} swift test --skip-build --filter CompactionSimulationTests
	@SKEIN_KILL_ROUNDS=$${SKEIN_SOAK_ROUNDS:-500} Tests/run-all.sh kill

swap-soak: build ## 200 fenced swaps of a live topic to a loaded plug-in and back, the broker killed amid half of them
	@swift build -c release --static-swift-stdlib --product KillDriver >.build/logs/swap-soak-build.log 2>&1 || { tail -40 .build/logs/swap-soak-build.log; exit 1; }
	@Tests/kill/plugin-swaps.sh

group-soak: build ## six members of a consumer group, harmed in every way, with the real times; GROUP_ROUNDS=n (3)
	@swift build -c release --static-swift-stdlib --product KillDriver >.build/logs/group-soak-build.log 2>&1 || { tail -40 .build/logs/group-soak-build.log; exit 1; }
	@Tests/kill/group.sh

group-bench: build ## consumer groups on a real broker: durable commits a second, memory, heartbeats and rebalances of 5,000 members
	@swift build -c release --static-swift-stdlib --product CallDriver >.build/logs/group-bench-build.log 2>&1 || { tail -40 .build/logs/group-bench-build.log; exit 1; }
	@Tests/limits/groups.py .build/release
