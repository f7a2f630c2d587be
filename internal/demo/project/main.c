#include <stdio.h>

#include "stats.h"

int main(void) {
  puts("workers  chance to wait at 90% load");
  for (int c = 1; c <= 64; c *= 2) printf("%7d  %.3f\n", c, erlang_c(c, 0.9 * c));
  return 0;
}
