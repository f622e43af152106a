// What a plug-in costs, and what one can do to the process that it is loaded into. `PluginBench` lists the modes.
await Bench.run(CommandLine.arguments)
