// CLinux is header-only; a C target needs one source file to have something to link.
#include "CLinux.h"
