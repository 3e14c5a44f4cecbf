module floe.dev/bench

go 1.24

require floe.dev/sdk v0.1.0

replace floe.dev/sdk => ../../../../sdk/go
