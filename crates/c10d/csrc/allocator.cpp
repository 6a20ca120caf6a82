#include <limits.h>
#include <malloc.h>

#include "c10d.h"

void c10d_keep_freed_memory(void) {
#ifdef __GLIBC__
  // One arena, because the others hand large blocks to mmap whatever is set.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}
