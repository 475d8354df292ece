"""What a shop has, costs and sells: a small project whose tests the DAG use_case_tests runs."""
