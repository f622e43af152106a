/* Breaks: load.churn. destroy forgets what create made. */
#define PLUGIN_ID "bad.leak"
#define STATE char *table;
#define ON_CREATE(self) ((self)->table = malloc(4096), memset((self)->table, 1, 4096))
#include "partitioner.h"
