#include "stats.h"

double mean(const double *x, int n) {
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i];
  return n > 0 ? sum / n : 0;
}
