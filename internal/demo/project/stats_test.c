#include <math.h>
#include <stdio.h>

#include "stats.h"

static int failures;

static void near(const char *what, double got, double want) {
  if (fabs(got - want) > 1e-9) {
    printf("FAIL %s: got %.12f, want %.12f\n", what, got, want);
    failures++;
  } else {
    printf("ok   %s\n", what);
  }
}

int main(void) {
  double x[] = {4, 1, 3, 2, 5};
  near("mean", mean(x, 5), 3);
  near("variance", variance(x, 5), 2.5);
  near("median", quantile(x, 5, 0.5), 3);
  near("Erlang C of one server is its load", erlang_c(1, 0.9), 0.9);
  near("Erlang C, two servers at load 1", erlang_c(2, 1), 1.0 / 3);
  return failures > 0;
}
