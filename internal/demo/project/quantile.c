#include <stdlib.h>

#include "stats.h"

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The value below which the share q of the sample lies, nearest rank. Sorts. */
double quantile(double *x, int n, double q) {
  qsort(x, n, sizeof *x, compare);
  int rank = (int)(q * n);
  return x[rank < n ? rank : n - 1];
}
