#pragma once
// The functions for patterns and texts of 8-bit units (UTF-8).
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
