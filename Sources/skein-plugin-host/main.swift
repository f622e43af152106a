// The child in which one plug-in runs. Started by skeind and `skein plugin test` only.
HostProgram.run()
