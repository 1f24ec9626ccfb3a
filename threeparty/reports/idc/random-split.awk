# A random split of the table's rows, 7 to 3, by a Lehmer generator so that every awk agrees.
BEGIN { FS = OFS = ","; x = 1 }
NR == 1 { for (i = 1; i <= NF; i++) if ($i == "split") column = i; print; next }
{ x = x * 48271 % 2147483647; $column = x < 0.7 * 2147483647 ? "train" : "test"; print }
