/// Marks the plug-in's file with the ABI that it was built for: "SKN1", major, minor, bits of a pointer. The host
/// reads it without running anything; `SKEIN_PLUGIN_ABI_MARK` is the same in C. The numbers are literals because a
/// section takes nothing else; a test compares them with the header.
@section(".skein.abi") @used
let abiMark: (UInt32, UInt32, UInt32, UInt32) = (0x314e_4b53, 1, 0, 64)
