package portmath

// Powers is powers.
var Powers = powers
