// The layout of the ABI, pinned: any other size or offset is another ABI, and every plug-in in the field breaks.
// A table may grow at its end: then its size here changes, nothing else. See Docs/formats/plugin-abi.md.
#include "skein_plugin.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has another size")
#define AT(type, field, offset) \
  _Static_assert(offsetof(type, field) == (offset), #type "." #field " is at another offset")

_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "Skein plug-ins are 64-bit");
_Static_assert(sizeof(skein_call) == 8 && sizeof(skein_status) == 4, "a basic type has another size");
_Static_assert(SKEIN_OK == 0 && SKEIN_FAILED == 1 && SKEIN_CANCELLED == 2 && SKEIN_RETRY_LATER == 3 && SKEIN_DENIED == 4 &&
                   SKEIN_BAD_CONFIG == 5 && SKEIN_UNSUPPORTED == 6,
               "a status has another number");
_Static_assert(SKEIN_PARTITIONER_PURE == 1 && SKEIN_ANY_PARTITION == -1, "a partitioner's constant changed");

SIZE(skein_bytes, 16);
AT(skein_bytes, ptr, 0);
AT(skein_bytes, len, 8);

SIZE(skein_host, 24);
AT(skein_host, size, 0);
AT(skein_host, abi_minor, 4);
AT(skein_host, ctx, 8);
AT(skein_host, get, 16);

SIZE(skein_host_log, 16);
AT(skein_host_log, size, 0);
AT(skein_host_log, _pad, 4);
AT(skein_host_log, write, 8);

SIZE(skein_host_config, 16);
AT(skein_host_config, size, 0);
AT(skein_host_config, _pad, 4);
AT(skein_host_config, lookup, 8);

SIZE(skein_host_metrics, 24);
AT(skein_host_metrics, size, 0);
AT(skein_host_metrics, _pad, 4);
AT(skein_host_metrics, define, 8);
AT(skein_host_metrics, record, 16);

SIZE(skein_host_async, 24);
AT(skein_host_async, size, 0);
AT(skein_host_async, _pad, 4);
AT(skein_host_async, complete, 8);
AT(skein_host_async, is_cancelled, 16);

SIZE(skein_instance_ops, 24);
AT(skein_instance_ops, create, 0);
AT(skein_instance_ops, quiesce, 8);
AT(skein_instance_ops, destroy, 16);

SIZE(skein_topic, 32);
AT(skein_topic, size, 0);
AT(skein_topic, partitions, 4);
AT(skein_topic, weights, 8);
AT(skein_topic, id, 16);

SIZE(skein_records, 40);
AT(skein_records, size, 0);
AT(skein_records, count, 4);
AT(skein_records, keys, 8);
AT(skein_records, timestamps, 16);
AT(skein_records, header_names, 24);
AT(skein_records, _pad, 28);
AT(skein_records, headers, 32);

SIZE(skein_partitioner, 40);
AT(skein_partitioner, size, 0);
AT(skein_partitioner, flags, 4);
AT(skein_partitioner, ops, 8);
AT(skein_partitioner, batch, 32);

SIZE(skein_offset_store, 72);
AT(skein_offset_store, size, 0);
AT(skein_offset_store, flags, 4);
AT(skein_offset_store, ops, 8);
AT(skein_offset_store, commit, 32);
AT(skein_offset_store, fetch, 40);
AT(skein_offset_store, scan, 48);
AT(skein_offset_store, remove, 56);
AT(skein_offset_store, cancel, 64);

SIZE(skein_peer, 64);
AT(skein_peer, size, 0);
AT(skein_peer, certificates, 4);
AT(skein_peer, chain, 8);
AT(skein_peer, server_name, 16);
AT(skein_peer, address, 32);
AT(skein_peer, tls_exporter, 48);

SIZE(skein_authenticator, 56);
AT(skein_authenticator, size, 0);
AT(skein_authenticator, flags, 4);
AT(skein_authenticator, ops, 8);
AT(skein_authenticator, step, 32);
AT(skein_authenticator, end, 40);
AT(skein_authenticator, cancel, 48);

SIZE(skein_plugin, 32);
AT(skein_plugin, size, 0);
AT(skein_plugin, abi_minor, 4);
AT(skein_plugin, id, 8);
AT(skein_plugin, version, 16);
AT(skein_plugin, get, 24);
