#include "stats.h"

double variance(const double *x, int n) {
  double m = mean(x, n), sum = 0;
  for (int i = 0; i < n; i++) sum += (x[i] - m) * (x[i] - m);
  return n > 1 ? sum / (n - 1) : 0;
}
