module floe.dev/sdk

go 1.24
